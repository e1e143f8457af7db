# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is installed, and what the machine has: the first lines of
``doctor``."""
from __future__ import annotations

import os
import platform
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

from .. import host

#: Modules that are needed, beside the host's, and what gives them.
NEEDED = {
    'torch': 'pip install torch',
    'torchvision': 'pip install torchvision',
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
    'lap': ('ByteTrack and OC-SORT',
            'pip install "mmdet_diffmap[tracking]"'),
    'motmetrics': ('SORT, DeepSORT and StrongSORT',
                   'pip install "mmdet_diffmap[tracking]"'),
    'transformers': ('text-prompted detectors',
                     'pip install "mmdet_diffmap[text]"'),
    'starlette': ('mmdet-diffmap serve',
                  'pip install "mmdet_diffmap[serve]"'),
    'uvicorn': ('mmdet-diffmap serve',
                'pip install "mmdet_diffmap[serve]"'),
}
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
    yield from map(host_module, host.MODULES)
    distributions = packages_distributions()
    for module, way_out in NEEDED.items():
        if find_spec(module) is None:
            yield Line(module, 'is not installed', 'problem', way_out)
        else:
            names = sorted(set(distributions.get(module, [])))
            yield Line(module, listed({name: version(name) for name in names},
                                      module))
    yield from too_new_numpy()
    yield own_package()


def too_new_numpy() -> Iterator[Line]:
    """Compare numpy with what torch was built for, which torch does not
    require: numpy 1 before torch 2.3."""
    from packaging.version import Version
    try:
        torch, numpy = version('torch'), version('numpy')
    except PackageNotFoundError:
        return
    if Version(torch) < Version('2.3') and Version(numpy) >= Version('2'):
        yield Line('numpy', f'{numpy} is too new for torch {torch}',
                   'problem', 'pip install "numpy<2"')


def host_module(module: str) -> Line:
    """Look for a module of the host, and whether it belongs to the others."""
    versions = host.installed_distributions(module)
    names = ' '.join(versions)
    if find_spec(module) is None:
        return Line(module, 'is not installed', 'problem', host.INSTALL)
    if len(versions) > 1:
        return Line(module, f'{" and ".join(versions)} share one folder',
                    'problem', f'pip uninstall {names}, and install one of '
                    'them')
    current = host.current_host()
    if versions and current not in host.hosts_of(module):
        return Line(module, f'{names} does not belong to {current.name}',
                    'problem', f'pip uninstall {names} {current.name}, and '
                    f'{host.INSTALL}')
    return Line(module, listed(versions, module))


def listed(versions: dict[str, str], module: str) -> str:
    """Write versions of distributions, whose name need not be the module's.

    >>> listed({'onedl-mmcv': '2.3'}, 'mmcv'), listed({'mmcv': '2.1'}, 'mmcv')
    ('onedl-mmcv 2.3', '2.1')
    """
    return ' and '.join(f'{name} {number}'.removeprefix(f'{module} ')
                        for name, number in versions.items()) or 'installed'


def own_package() -> Line:
    """Compare what this package requires, and asks of the host that is
    installed, with what is installed."""
    from ..version import __version__
    try:
        requirements = requires('mmdet_diffmap') or []
    except PackageNotFoundError:  # a checkout on the path
        requirements = []
    wrong = [requirement.partition(';')[0].strip()
             for requirement in requirements if not is_met(requirement)]
    if wrong:
        return Line('mmdet_diffmap', f'{__version__} needs '
                    f'{", ".join(wrong)}', 'problem',
                    'pip install ' + ' '.join(f'"{each}"' for each in wrong))
    return Line('mmdet_diffmap', __version__)


def is_met(requirement: str) -> bool:
    """Whether a package of a fitting version is installed, or none is asked
    for beside this Python and this host.

    >>> is_met('numpy>=1.0'), is_met('numpy>=99'), is_met('no_such_package')
    (True, False, False)
    """
    from packaging.requirements import Requirement
    wanted = Requirement(requirement)
    extra = host.current_host().extra
    if wanted.marker is not None and not wanted.marker.evaluate(
            dict(extra=extra)):
        return True
    module = host.module_of(wanted.name)
    try:
        # another distribution may give the same module, as mmcv does
        versions = [version(wanted.name)] if module is None else \
            host.installed_distributions(module).values()
    except PackageNotFoundError:
        return False
    return all(wanted.specifier.contains(number, prereleases=True)
               for number in versions)


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


def model_zoo() -> Line:
    """Ask whether weights can be downloaded."""
    import torch
    url = host.current_host().zoo
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
