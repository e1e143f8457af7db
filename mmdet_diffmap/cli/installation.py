# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is installed, and what the machine has: the first lines of
``doctor``."""
from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import (
    PackageNotFoundError,
    packages_distributions,
    requires,
    version,
)
from importlib.util import find_spec
from urllib.error import URLError
from urllib.request import Request, urlopen

#: Modules that are needed, and what gives them.
NEEDED = {
    'torch': 'pip install torch',
    'torchvision': 'pip install torchvision',
    'mmengine': 'pip install mmengine',
    'mmcv': 'without a compiler, pip install "mmdet_diffmap[lite]"; with '
            'compiled ops, mim install "mmcv>=2.1,<2.2"',
    'mmdet': 'pip install "mmdet>=3.3"',
    'cv2': 'pip install opencv-python',
    'numpy': 'pip install numpy',
}
#: Modules that are not, what they give, and how they are installed.
OPTIONAL = {
    'mmpretrain': ('backbones of mmpretrain, such as ConvNeXt',
                   'pip install mmpretrain'),
    'timm': ('backbones of timm', 'pip install timm'),
    'tensorboard': ('pictures of a test run in TensorBoard',
                    'pip install tensorboard'),
    'fiftyone': ('detections and maps in FiftyOne',
                 'pip install fiftyone'),
    'starlette': ('mmdet-diffmap serve',
                  'pip install "mmdet_diffmap[serve]"'),
    'uvicorn': ('mmdet-diffmap serve',
                'pip install "mmdet_diffmap[serve]"'),
}
ZOO = 'https://download.openmmlab.com'
#: Seconds to wait for the zoo.
PATIENCE = 3


@dataclass(frozen=True)
class Line:
    """What was found out about one thing.

    Args:
        name (str): The thing.
        text (str): How it is.
        state (str): ``ok``; ``note``, if something works without it; or
            ``problem``.
        way_out (str): What can be done about a problem.
    """
    name: str
    text: str
    state: str = 'ok'
    way_out: str = ''


def packages() -> Iterator[Line]:
    """Look for the packages that are needed, without importing them."""
    yield Line('python', platform.python_version())
    distributions = packages_distributions()
    for module, way_out in NEEDED.items():
        names = sorted(set(distributions.get(module, [])))
        if find_spec(module) is None:
            yield Line(module, 'is not installed', 'problem', way_out)
        elif module == 'mmcv' and len(names) > 1:
            yield Line(module, f'{" and ".join(names)} share one folder',
                       'problem', f'pip uninstall {" ".join(names)}, and '
                       'install one of them')
        else:
            yield Line(module, ' and '.join(
                f'{name} {version(name)}'.removeprefix(f'{module} ')
                for name in names) or 'installed')
    yield own_package()


def own_package() -> Line:
    """Compare what this package requires with what is installed."""
    from ..version import __version__
    wrong = []
    try:
        requirements = requires('mmdet_diffmap') or []
    except PackageNotFoundError:  # a checkout on the path
        requirements = []
    for requirement in requirements:
        if 'extra ==' in requirement:
            continue
        name = re.match(r'[\w.-]+', requirement)
        assert name is not None
        if not is_met(requirement):
            wrong.append(requirement)
    if wrong:
        return Line('mmdet_diffmap', f'{__version__} needs '
                    f'{", ".join(wrong)}', 'problem',
                    'pip install ' + ' '.join(f'"{each}"' for each in wrong))
    return Line('mmdet_diffmap', __version__)


def is_met(requirement: str) -> bool:
    """Whether a package of a fitting version is installed.

    >>> is_met('numpy>=1.0'), is_met('numpy>=99'), is_met('no_such_package')
    (True, False, False)
    """
    from packaging.requirements import Requirement
    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    try:
        return wanted.specifier.contains(version(wanted.name),
                                         prereleases=True)
    except PackageNotFoundError:
        return False


def optional_packages() -> Iterator[Line]:
    """Look for packages that are not needed, and say what they give."""
    for module, (gives, way_out) in OPTIONAL.items():
        if find_spec(module) is None:
            yield Line(module, f'not installed; for {gives}: {way_out}',
                       'note')
        else:
            yield Line(module, f'installed: {gives}')


def machine() -> Iterator[Line]:
    """Look at the processor, the memory and the GPU."""
    import psutil
    import torch

    from ..ops import install_standins
    cores = len(os.sched_getaffinity(0)) if hasattr(
        os, 'sched_getaffinity') else os.cpu_count()
    memory = psutil.virtual_memory()
    yield Line('cores', f'{cores}, of which torch uses '
               f'{torch.get_num_threads()}')
    yield Line('memory', f'{memory.available / 1e9:.1f} GB of '
               f'{memory.total / 1e9:.1f} GB are free')
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number)
            yield Line(f'GPU {number}', f'{gpu.name}, '
                       f'{gpu.total_memory / 1e9:.0f} GB, CUDA '
                       f'{torch.version.cuda}')
    elif shutil.which('nvidia-smi'):
        yield Line('GPU', f'torch {torch.__version__} cannot use the one that '
                   'is here; install torch for your driver: '
                   'https://pytorch.org/get-started', 'note')
    else:
        yield Line('GPU', 'none: detectors run on the CPU')
    yield Line('ops', 'stand-ins by torch and torchvision, since mmcv has no '
               'compiled ops' if install_standins() else
               'compiled, those of mmcv')


def model_zoo(url: str = ZOO) -> Line:
    """Ask whether weights can be downloaded."""
    import torch
    try:
        with urlopen(Request(url, method='HEAD'), timeout=PATIENCE):
            pass
    except (URLError, OSError) as error:
        if not hasattr(error, 'code'):  # an answer, if not the wanted one
            reason = getattr(error, 'reason', error)
            return Line(
                'model zoo', f'{url} cannot be reached ({reason}): put '
                'weights that you get elsewhere into '
                f'{torch.hub.get_dir()}/checkpoints, or give their path',
                'note')
    return Line('model zoo', f'{url} can be reached')
