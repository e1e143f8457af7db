"""Programs as a user starts them."""
import os
import subprocess
import sys


def run(*arguments, cwd=None, expect=0, **environment):
    env = dict(os.environ, PYTHONWARNINGS='ignore', **environment)
    result = subprocess.run([sys.executable, *map(str, arguments)],
                            cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == expect, result.stdout + result.stderr
    return result
