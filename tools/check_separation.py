# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Compare maps that may show what keeps two objects of a class apart."""
import sys

from mmdet_diffmap.cli.check_separation import main

if __name__ == '__main__':
    sys.exit(main())
