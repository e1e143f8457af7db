# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Draw a figure of the paper, of any images and detectors."""
import sys

from mmdet_diffmap.cli.figure import main

if __name__ == '__main__':
    sys.exit(main())
