# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Draw the time of explanations against the number of objects."""
import sys
import warnings

warnings.simplefilter('ignore')  # of the host's packages about each other

from mmdet_diffmap.cli.plot_speed import main

if __name__ == '__main__':
    sys.exit(main())
