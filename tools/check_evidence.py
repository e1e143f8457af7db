# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check whether it is true what maps say speaks for objects, and against."""
import sys
import warnings

warnings.simplefilter('ignore')  # of the host's packages about each other

from mmdet_diffmap.cli.check_evidence import main

if __name__ == '__main__':
    sys.exit(main())
