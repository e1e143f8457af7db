# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that errors are named as what they are."""
import sys

from mmdet_diffmap.cli.check_errors import main

if __name__ == '__main__':
    sys.exit(main())
