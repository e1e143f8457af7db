# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that maps depend on what a detector has learned."""
import sys

from mmdet_diffmap.cli.sanity_check import main

if __name__ == '__main__':
    sys.exit(main())
