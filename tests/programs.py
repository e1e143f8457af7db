"""Commands and tools as a user starts them."""
import contextlib
import importlib
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

from mmdet_diffmap.__main__ import main

#: Tools whose module has another name.
MODULES = dict(benchmark_del_ins='benchmark', explain_errors='errors')
#: Begins processes where the package is imported, which takes seconds, and
#: nothing else has happened.
FRESH = multiprocessing.get_context('forkserver')
FRESH.set_forkserver_preload(['mmdet_diffmap.plugin', 'mmdet.apis'])


def added_path(folder):
    """Where modules are looked for, and a folder before that."""
    return os.pathsep.join(
        filter(None, [str(folder), os.environ.get('PYTHONPATH')]))


def run(program, *arguments, cwd=None, expect=0):
    """Run a tool, or ``mmdet-diffmap``, to its end.

    It runs inside of this process, since seconds of imports would add up to
    minutes.

    Args:
        program: The path of a tool, or ``mmdet-diffmap``.
        cwd: The working folder.
        expect: The exit status.
    """
    result = inside([program, *arguments], cwd)
    assert result.returncode == expect, result.stdout + result.stderr
    return result


def apart(command, folder, environment=None):
    """Start a tool, ``mmdet-diffmap``, or ``-m`` and a module, in a process of
    its own, in a folder whose modules it can import, and return it.

    ``environment`` holds further variables. The process leads a group of
    processes, and what it says is in the files beside the folder that
    :func:`said` reads.
    """
    process = FRESH.Process(target=_apart,
                            args=(list(map(str, command)), str(folder),
                                  environment or {}))
    process.start()
    return process


def said(folder):
    """Return what a tool that ran apart has said, its output first."""
    return tuple(folder.with_suffix(f'.{name}').read_text()
                 for name in ('stdout', 'stderr'))


def _apart(command, folder, environment):
    os.setsid()
    os.environ.update(environment)
    # a program in the background may ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in (1, 'stdout'), (2, 'stderr'):
        with open(f'{folder}.{name}', 'w') as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    sys.path.insert(0, folder)
    program, *arguments = command
    if program == '-m':
        sys.argv[1:] = arguments[1:]
        runpy.run_module(arguments[0], run_name='__main__', alter_sys=True)
    else:
        sys.exit(main_of(program)(arguments))


def inside(command, cwd=None):
    """Run a tool, or ``mmdet-diffmap``, in this process, in a folder."""
    program, *arguments = map(str, command)
    out, errors = io.StringIO(), io.StringIO()
    folder = os.getcwd()
    try:
        os.chdir(cwd or folder)
        with contextlib.redirect_stdout(out), \
                contextlib.redirect_stderr(errors):
            code = main_of(program)(arguments)
    except SystemExit as end:  # of the argument parser
        code = end.code
    finally:
        os.chdir(folder)
    return subprocess.CompletedProcess(command, code, out.getvalue(),
                                       errors.getvalue())


def main_of(program):
    """What a tool's script calls."""
    if program == 'mmdet-diffmap':
        return main
    name = Path(program).stem
    name = MODULES.get(name, name)
    return importlib.import_module(f'mmdet_diffmap.cli.{name}').main
