# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""mmdet's own ``tools/test.py``, where mmcv's ops are not compiled too.

mmdet's script imports mmcv's ops before it reads any config. This command
registers the stand-ins first, and then runs that script with the same
arguments.
"""
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run mmdet's script; see its ``--help``."""
    import mmdet

    from .. import plugin  # noqa: F401, makes mmcv's ops importable
    script = Path(mmdet.__file__).parent / '.mim/tools/test.py'
    if not script.is_file():
        print(f'error: {script} is missing: install mmdet from its wheel',
              file=sys.stderr)
        return 1
    before = sys.argv
    sys.argv = ['mmdet-diffmap test', *(before[1:] if argv is None else argv)]
    try:
        runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv = before
    return 0
