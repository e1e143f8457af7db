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

#: mmdet's own help comes after seconds of imports.
HELP = '''\
usage: mmdet-diffmap test config checkpoint [options]

mmdet's tools/test.py, also where mmcv has no compiled ops. Its options:

  --work-dir DIR            gets the log and the results
  --out FILE                gets the predictions, as a pickle file
  --show                    show images with their predictions ...
  --wait-time SECONDS       ... each for so long; default: 2
  --show-dir DIR            write those images, into WORK_DIR/TIME/DIR
  --cfg-options KEY=VALUE ...
                            override settings of the config
  --launcher {none,pytorch,slurm,mpi}
                            what started several processes; default: none
  --local_rank, --local-rank N
                            passed by torch.distributed.launch
  --tta                     test with augmented images'''


def main(argv: Sequence[str] | None = None) -> int:
    """Run mmdet's script; see ``--help``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {'-h', '--help'} & set(arguments):
        print(HELP)
        return 0
    import mmdet

    from .. import plugin  # noqa: F401, makes mmcv's ops importable
    script = Path(mmdet.__file__).parent / '.mim/tools/test.py'
    if not script.is_file():
        print(f'error: {script} is missing: install mmdet from its wheel',
              file=sys.stderr)
        return 1
    before = sys.argv
    sys.argv = ['mmdet-diffmap test', *arguments]
    try:
        runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv = before
    return 0
