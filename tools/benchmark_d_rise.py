# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure what D-RISE costs beyond the detector's forward passes."""
import sys

from mmdet_diffmap.cli.benchmark_d_rise import main

if __name__ == '__main__':
    sys.exit(main())
