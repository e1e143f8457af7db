# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector's errors over a data set: what, why, and what it costs."""
import sys

from mmdet_diffmap.cli.errors import main

if __name__ == '__main__':
    sys.exit(main())
