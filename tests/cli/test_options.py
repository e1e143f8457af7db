"""What commands have in common, and that they read it at once."""
import os
import re
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from demo import CONFIG, WEIGHTS
from programs import inside, run

from mmdet_diffmap.apis.video import SHOWN
from mmdet_diffmap.cli import (
    benchmark,
    distributed,
    explain_arguments,
    options,
)
from mmdet_diffmap.cli import test as command_test
from mmdet_diffmap.evaluation import METRICS
from mmdet_diffmap.visualization.colours import SCHEMES

HEAVY = ('torch', 'mmcv', 'mmdet', 'mmengine', 'numpy', 'cv2')
#: Says that the running program is the command, as its script does.
COMMAND = '''
import sys
sys.argv[0] = '/somewhere/bin/mmdet-diffmap'
sys.orig_argv.append(sys.argv[0])
'''
#: Runs the command, and says what it has imported.
SCRIPT = f'''{COMMAND}
try:
    from mmdet_diffmap.__main__ import main
    status = main()
except SystemExit as end:
    status = end.code
print('imported', *(name for name in {HEAVY} if name in sys.modules))
sys.exit(status)
'''


def start(script, *arguments, cwd=None):
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, '-c', script, *map(str, arguments)], cwd=cwd,
        capture_output=True, text=True,
        env=dict(os.environ, PYTHONWARNINGS='ignore'))


@pytest.mark.parametrize('arguments, status', [
    (['--help'], 0), (['--version'], 0), ([], 0), (['nothing'], 2),
    (['explain', '--help'], 0), (['report', '-h'], 0),
    (['benchmark', '--help'], 0), (['sanity-check', '--help'], 0),
    (['check-zoo', '--help'], 0), (['test', '--help'], 0),
    (['serve', '--help'], 0), (['serve', '--port', '65536'], 2),
    (['explain', 'alone'], 2),
    (['explain', 'a.jpg', 'b.py', '--score-thr', 'nan'], 2)])
def test_help_and_mistakes_import_nothing_heavy(arguments, status):
    result = start(SCRIPT, *arguments)
    assert result.returncode == status, result.stderr
    assert result.stdout.splitlines()[-1] == 'imported'


@pytest.mark.slow
def test_the_api_is_there_in_the_command_too():
    result = start(COMMAND + 'import mmdet_diffmap\n'
                   'assert "torch" not in sys.modules\n'
                   'from mmdet_diffmap import *\n'
                   'assert callable(explain) and callable(load_detector)\n'
                   'assert mmdet_diffmap.difference_map is difference_map\n'
                   'assert not hasattr(mmdet_diffmap, "nothing")')
    assert result.returncode == 0, result.stderr


def test_two_names_of_the_zoo_are_told_from_images():
    result = run('mmdet-diffmap', 'explain', 'a.jpg',
                 'rtmdet_tiny_8xb32-300e_coco', 'yolox_tiny_8xb8-300e_coco',
                 '--weights', WEIGHTS, expect=2)
    assert '1 --weights for 2 MODELs' in result.stderr


#: The command's script, which starts processes that import the package.
PROCESSES = '''
import multiprocessing
import mmdet_diffmap.version
from child import check

if __name__ == '__main__':
    for method in 'spawn', 'forkserver':
        context = multiprocessing.get_context(method)
        process = context.Process(target=check)
        process.start()
        process.join()
        assert process.exitcode == 0, method
'''


@pytest.mark.slow
def test_processes_that_the_command_starts_register_all(tmp_path):
    """As data loaders do where processes are not forked."""
    program = tmp_path / 'mmdet-diffmap'
    program.write_text(PROCESSES)
    (tmp_path / 'child.py').write_text(
        'def check():\n'
        '    import mmdet_diffmap, mmcv.ops\n'
        '    from mmengine.registry import HOOKS\n'
        '    assert HOOKS.get("ExplainHook")\n')
    result = subprocess.run([sys.executable, '-W', 'ignore', program],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_help_names_all_options_of_mmdets_script():
    script = Path(mmdet.__file__).parent / '.mim/tools/test.py'
    options = re.findall(r"'(--[\w-]+)'", script.read_text())
    assert len(options) > 8
    ours = [name for action in command_test.build_parser()._actions
            for name in action.option_strings]
    assert sorted(ours) == sorted([*options, '-h', '--help'])


@pytest.mark.slow
def test_importing_the_package_registers_all():
    """As configs rely on, by ``custom_imports``; and mmdet can be
    imported."""
    result = start(
        'import mmdet_diffmap, mmcv.ops, mmdet.apis\n'
        'from mmengine.registry import HOOKS, LOOPS, METRICS\n'
        'assert HOOKS.get("ExplainHook") and LOOPS.get("ExplanationTestLoop")'
        ' and METRICS.get("ExplanationMetric")')
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('command', [
    'explain', 'report', 'sanity-check'])
@pytest.mark.parametrize('option, value, message', [
    ('--score-thr', 'nan', 'nan is not a number from 0 to 1'),
    ('--score-thr', '-1', '-1 is not a number from 0 to 1'),
    ('--score-thr', '2', '2 is not a number from 0 to 1'),
    ('--score-thr', 'high', 'high is not a number from 0 to 1'),
    ('--max-objects', '-1', '-1 is not a whole number, 0 or more'),
    ('--max-objects', '1.5', '1.5 is not a whole number, 0 or more')])
def test_what_selects_no_detection(command, option, value, message):
    result = inside(['mmdet-diffmap', command, 'scene://0/2', CONFIG,
                     f'{option}={value}'])
    assert result.returncode == 2
    assert message in result.stderr


def test_choices_are_those_of_the_package():
    assert set(explain_arguments.MAPS) == set(SHOWN)
    assert benchmark.METRICS == METRICS
    assert options.LAUNCHERS == distributed.LAUNCHERS


def test_pairs_are_read_as_mmengine_does(tmp_path):
    result = run('mmdet-diffmap', 'explain', 'scene://0/2', CONFIG,
                 '--explainer-options', 'extents', cwd=tmp_path, expect=2)
    assert 'options are given as KEY=VALUE' in result.stderr


def test_colours_are_those_that_there_are():
    assert tuple(SCHEMES) == options.COLOURS
    assert [name for name in options.COLOURS if not SCHEMES[name].safe] == \
        [options.COLOURS[-1]]
