# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Draw the time of explanations against the number of objects."""
import sys

from mmdet_diffmap.cli.plot_speed import main

if __name__ == '__main__':
    sys.exit(main())
