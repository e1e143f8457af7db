# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check whether it is true what maps say speaks for objects, and against."""
import sys

from mmdet_diffmap.cli.check_evidence import main

if __name__ == '__main__':
    sys.exit(main())
