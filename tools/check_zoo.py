# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that the detectors of mmdet's model zoo are explained."""
import sys

from mmdet_diffmap.cli.check_zoo import main

if __name__ == '__main__':
    sys.exit(main())
