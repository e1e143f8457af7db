# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deletion and Insertion over a data set: the paper's Table 1 and Fig. 5."""
import sys

from mmdet_diffmap.cli.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
