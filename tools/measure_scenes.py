# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure the maps of the demo detectors where the right answer is known."""
import sys

from mmdet_diffmap.cli.measure_scenes import main

if __name__ == '__main__':
    sys.exit(main())
