import platform
import subprocess
import sys

import pytest

SCRIPT = '''
import resource, sys
import torch
from mmdet_diffmap.cli.memory import keep_freed_memory

if 'keep' in sys.argv:
    assert keep_freed_memory()
before = 0
for _ in range(20):  # 64 MB are 16384 pages
    torch.ones(2**24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    last, before = faults - before, faults
print(last)
'''


def page_faults(*arguments):
    return int(subprocess.run([sys.executable, '-c', SCRIPT, *arguments],
                              check=True, capture_output=True,
                              text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc',
                    reason='only glibc can be told to keep memory')
def test_the_memory_of_a_freed_tensor_is_used_again():
    kept = page_faults('keep')
    assert kept < 100
    assert page_faults() > 10 * kept + 1000
