"""Programs as a user starts them."""
import contextlib
import io
import os
import runpy
import subprocess
import sys

from mmdet_diffmap.__main__ import main


def added_path(folder):
    """Where modules are looked for, and a folder before that."""
    return os.pathsep.join(
        filter(None, [str(folder), os.environ.get('PYTHONPATH')]))


def run(program, *arguments, cwd=None, expect=0, **environment):
    """Run a program to its end.

    One that is to fail (``expect`` is its exit status) runs inside of this
    process: seconds of imports for a sentence would add up to minutes.
    """
    command = [str(program), *map(str, arguments)]
    if expect and not environment:
        result = inside(command, cwd)
    else:
        env = dict(os.environ, PYTHONWARNINGS='ignore', **environment)
        result = subprocess.run([sys.executable, *command], cwd=cwd, env=env,
                                capture_output=True, text=True)
    assert result.returncode == expect, result.stdout + result.stderr
    return result


def inside(command, cwd=None):
    """Run a program, or ``mmdet-diffmap``, in this process, in a folder."""
    before, folder = sys.argv, os.getcwd()
    out, errors = io.StringIO(), io.StringIO()
    sys.argv = command
    try:
        os.chdir(cwd or folder)
        with contextlib.redirect_stdout(out), \
                contextlib.redirect_stderr(errors):
            if command[0] == 'mmdet-diffmap':
                main()
            else:
                runpy.run_path(command[0], run_name='__main__')
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
        os.chdir(folder)
    return subprocess.CompletedProcess(command, code, out.getvalue(),
                                       errors.getvalue())
