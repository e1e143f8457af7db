# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure how long explanations take and how much memory."""
import sys

from mmdet_diffmap.cli.benchmark_speed import main

if __name__ == '__main__':
    sys.exit(main())
