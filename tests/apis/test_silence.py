"""What users call prints nothing that they cannot act on."""
import os
import subprocess
import sys
import warnings

import pytest
import torch
from demo import CONFIG, ROOT, SCENE, WEIGHTS
from programs import added_path, apart, said

from mmdet_diffmap.io.remarks import leave_out_remarks

PROGRAM = '''
import sys
from mmdet_diffmap import DiffMapInferencer, explain, load_detector
model = load_detector(sys.argv[1], sys.argv[2], device='cpu')
explain(model, sys.argv[3], max_objects=2)
if len(sys.argv) > 4:
    DiffMapInferencer(sys.argv[1], sys.argv[2], device='cpu',
                      show_progress=False)(sys.argv[3])
'''


def fresh(*arguments):
    """Run the program in a process of its own, with Python's own filters."""
    env = dict(os.environ, PYTHONPATH=added_path(ROOT))
    env.pop('PYTHONWARNINGS', None)
    return subprocess.run([sys.executable, '-c', PROGRAM,
                           *map(str, arguments)],
                          env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_fresh_process_is_silent():
    result = fresh(CONFIG, WEIGHTS, SCENE, 'inferencer')
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


@pytest.mark.slow
def test_a_process_is_silent_about_a_detector_of_the_zoo(real, tmp_path):
    photo = next((real / 'images').iterdir())
    (tmp_path / 'program.py').write_text(PROGRAM)
    process = apart(['-m', 'program', real / 'yolox_nano_coco.py',
                     real / 'yolox_nano_coco.pth', photo], tmp_path)
    process.join()
    assert (process.exitcode, *said(tmp_path)) == (0, '', '')


def test_warnings_of_others_are_left_alone():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        leave_out_remarks()
        warnings.warn('pkg_resources is deprecated as an API', UserWarning,
                      stacklevel=1)  # of a module of the user's own
        warnings.warn('`torch.cuda.amp.autocast(args...)` is deprecated',
                      FutureWarning, stacklevel=1)
        with torch.cuda.amp.autocast(enabled=False):
            pass
        assert len(said) == 3
