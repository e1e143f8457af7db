# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The host: mmdet with its mmengine and mmcv, whoever publishes them.

mmdet 3.3.0 is from January 2024. The distributions ``onedl-…`` are forks of
all three that are still maintained, and their modules have the same names.
What differs from host to host stands here; the rest of the package knows
modules, and not how they came.
"""
import pkgutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

#: What a host consists of.
MODULES = ('mmdet', 'mmengine', 'mmcv')


@dataclass(frozen=True)
class Host:
    """Distributions that together give mmdet, mmengine and mmcv.

    Args:
        name (str): What to call it.
        extra (str): The extra of this package that installs it.
        distributions (dict): For each module, the names under which it is
            published.
        zoo (str): The URL where the weights of its model zoo lie.
        compiled (str): A command that installs an mmcv with compiled ops.
        remarks (tuple): Lines that it prints of packages which nobody needs,
            when it is imported.
    """
    name: str
    extra: str
    distributions: dict[str, tuple[str, ...]]
    zoo: str
    compiled: str
    remarks: tuple[str, ...] = ()


HOSTS = (
    Host(
        'mmdet', 'lite',
        dict(mmdet=('mmdet', ),
             mmengine=('mmengine', 'mmengine-lite'),
             mmcv=('mmcv', 'mmcv-lite', 'mmcv-full')),
        'https://download.openmmlab.com',
        'pip uninstall mmcv-lite && pip install -U openmim && '
        'mim install "mmcv>=2.1,<2.2"'),
    Host(
        'onedl-mmdetection', 'onedl',
        dict(mmdet=('onedl-mmdetection', ),
             mmengine=('onedl-mmengine', ),
             mmcv=('onedl-mmcv', )),
        'https://mmassets.onedl.ai',
        'pip uninstall onedl-mmcv && pip install -U onedl-mim && '
        'mim install onedl-mmcv',
        remarks=('Could not import OneDL. Skipping OneDL datasets.', )),
)
#: How to install one.
INSTALL = ('pip install "mmdet_diffmap[lite]" for mmdet 3.3, or pip install '
           '"mmdet_diffmap[onedl]" for its maintained forks')


class NoHostError(ImportError):
    """There is no mmdet, mmengine or mmcv."""


def require_host() -> None:
    """Make sure that a host is there, without importing it.

    Raises:
        NoHostError: If a part of it is missing.
    """
    missing = [module for module in MODULES if find_spec(module) is None]
    if missing:
        raise NoHostError(
            'mmdet_diffmap explains detectors of MMDetection, and '
            f'{" and ".join(missing)} {"are" if missing[1:] else "is"} not '
            f'installed: {INSTALL}')


def installed_distributions(module: str) -> dict[str, str]:
    """Return the versions of the distributions that give a module of the host,
    by their names: one if all is well, and none for a folder on the path."""
    versions = {}
    for host in HOSTS:
        for name in host.distributions[module]:
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                continue
    return versions


def hosts_of(module: str) -> list[Host]:
    """Return the hosts whose distribution of a module is installed."""
    names = installed_distributions(module)
    return [host for host in HOSTS
            if not names.keys().isdisjoint(host.distributions[module])]


def current_host() -> Host:
    """Return the host that is installed: the one that gives mmdet. Where mmdet
    is a folder on the path, or missing, it is the first."""
    return next(iter(hosts_of('mmdet')), HOSTS[0])


def mend_host() -> None:
    """Give mmengine 0.10.7 what Python 3.14 has no more: it asks
    ``pkgutil.find_loader`` whether mmcv has compiled ops. Its forks do not."""
    from mmengine.utils.dl_utils import misc
    asks: Any = misc
    if hasattr(asks, 'pkgutil') and not hasattr(pkgutil, 'find_loader'):
        asks.pkgutil = SimpleNamespace(find_loader=find_spec)


def thin_encoding(head: Any, args: tuple) -> Any:
    """Leave out every other frequency of encoded boxes that have twice the
    features that a layer takes.

    Args:
        head (nn.Module): mmdet's MLP, whose first layer says what it takes.
        args (tuple[Tensor]): Of shape (..., sides of a box * frequencies * 2),
            as ``coordinate_to_encoding`` gives them.

    Returns:
        Tensor | None: What ``coordinate_to_encoding`` gives for half of
        ``num_feats``, or None if nothing has to be left out.
    """
    (encoding, ) = args
    if encoding.shape[-1] != 2 * head.layers[0].in_features:
        return None
    return encoding.unflatten(-1, (4, -1, 2, 2))[..., 0, :].flatten(-3)


def mend_grounding_dino() -> None:
    """Let the decoder of Grounding DINO predict in onedl-mmdetection 3.5.1.

    That host encodes boxes for DINO's decoder in twice the features of mmdet
    3.3, and DINO's takes them. Grounding DINO's inherits the encoding, takes
    the old number, as published weights do, and fails at every image.
    """
    from mmdet.models.layers.transformer import grounding_dino_layers
    decoder = grounding_dino_layers.GroundingDinoTransformerDecoder
    build = decoder._init_layers

    def build_and_mend(self: Any) -> None:
        build(self)
        self.ref_point_head.register_forward_pre_hook(thin_encoding)

    decoder._init_layers = build_and_mend


def module_of(distribution: str) -> str | None:
    """Return which module of the host a distribution gives, if it does.

    >>> module_of('onedl-mmcv'), module_of('numpy')
    ('mmcv', None)
    """
    return next((module for host in HOSTS
                 for module, names in host.distributions.items()
                 if distribution in names), None)
