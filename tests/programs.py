"""Programs as a user starts them."""
import os
import subprocess
import sys


def added_path(folder):
    """Where modules are looked for, and a folder before that."""
    return os.pathsep.join(
        filter(None, [str(folder), os.environ.get('PYTHONPATH')]))


def run(*arguments, cwd=None, expect=0, **environment):
    env = dict(os.environ, PYTHONWARNINGS='ignore', **environment)
    result = subprocess.run([sys.executable, *map(str, arguments)],
                            cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == expect, result.stdout + result.stderr
    return result
