# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Compare the maps that two settings of an explainer give."""
import sys

from mmdet_diffmap.cli.compare_explainers import main

if __name__ == '__main__':
    sys.exit(main())
