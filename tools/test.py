# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""mmdet's own ``tools/test.py``, where mmcv's ops are not compiled too."""
import sys

from mmdet_diffmap.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
