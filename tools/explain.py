# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explain every object that a detector finds in images and videos."""
import sys

from mmdet_diffmap.cli.explain import main

if __name__ == '__main__':
    sys.exit(main())
