# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""mmdet's own ``tools/test.py``, where mmcv's ops are not compiled too.

mmdet's script imports mmcv's ops before it reads any config. This one imports
mmdet_diffmap first, and then runs that script with the same arguments.
"""
import runpy
import sys
from pathlib import Path

import mmdet

import mmdet_diffmap  # noqa: F401, makes mmcv's ops importable

SCRIPT = Path(mmdet.__file__).parent / '.mim/tools/test.py'


def main() -> int:
    if not SCRIPT.is_file():
        print(f'error: {SCRIPT} is missing: install mmdet from its wheel',
              file=sys.stderr)
        return 1
    runpy.run_path(str(SCRIPT), run_name='__main__')
    return 0


if __name__ == '__main__':
    sys.exit(main())
