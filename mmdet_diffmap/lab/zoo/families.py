# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The folders of a package's configs, and one config of each."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import yaml

PARTS = 'holds parts of configs only'

#: Folders of mmdet without a detector that could be explained, and why.
EXCLUDED = {
    '_base_': PARTS,
    'common': PARTS,
    'dsdl': 'needs data sets in a format of their own, for models of others',
    'clrnet': 'finds lanes, which have no boxes (only in mmdet\'s forks)',
    'mask2former_vis': 'finds objects in all frames of a video at once, as '
                       'masks, and has no detector',
    'reid': 'tells persons apart and finds none',
}


@dataclass(frozen=True)
class Zoo:
    """What is known of the configs of a package.

    Args:
        excluded (Mapping): Folders without a detector that could be
            explained, and why; so are the folders in them.
        nested (bool): Whether a folder inside of a folder is a family of its
            own. In mmdet it has the same detectors for other data.
        besides (Mapping): Configs that are unlike the others of their folder,
            by a name for each.
    """
    excluded: Mapping[str, str] = field(
        default_factory=lambda: {'_base_': PARTS})
    nested: bool = False
    besides: Mapping[str, str] = field(default_factory=dict)


ZOOS = {
    'mmdet': Zoo(EXCLUDED),
    'mmyolo': Zoo(
        {
            '_base_': PARTS,
            'deploy': 'says how detectors are exported, and describes none',
            'rtmdet/cspnext_imagenet_pretrain': 'classifies whole images',
            'razor/subnets': 'needs mmrazor, and a file that it downloads',
            'rtmdet/distillation': 'is a training by mmrazor, after which the '
            'student is the RTMDet of this table',
            'rtmdet/rotated': 'finds rotated boxes, and needs mmrotate, which '
            'refuses mmdet 3.3.0',
            'yolox/pose': 'needs mmpose, and that xtcocotools, whose wheel '
            'refuses numpy 2',
        },
        nested=True,
        besides={
            'rtmdet-ins': 'rtmdet/rtmdet-ins_s_syncbn_fast_8xb32-300e_coco.py',
            'yolov6_v3': 'yolov6/yolov6_v3_s_syncbn_fast_8xb32-300e_coco.py',
        }),
}
#: Where a wheel of OpenMMLab has its configs, below the package.
CONFIGS = Path('.mim') / 'configs'


def zoo_of(package: str) -> Zoo:
    """Return what is known of a package's configs."""
    return ZOOS.get(package, Zoo())


def zoo_folder(package: str = 'mmdet') -> Path:
    """Return the folder in which the wheel of a package has its configs.

    Raises:
        FileNotFoundError: If it is not installed, or without them.
    """
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.origin:
        raise FileNotFoundError(f'{package} is no installed package')
    folder = Path(spec.origin).parent / CONFIGS
    if not folder.is_dir():
        raise FileNotFoundError(f'{package} is installed without its configs '
                                f'({folder}): install its wheel')
    return folder


def family_of(config: Path) -> str:
    """Return the name of a config's folder, in a package with those around
    it.

    >>> family_of(Path('configs/fcos/fcos_r50_1x_coco.py'))
    'fcos'
    >>> family_of(Path('mmyolo/.mim/configs/yolov5/voc/yolov5_n.py'))
    'yolov5/voc'
    """
    for folder in config.parents:
        if folder.parts[-2:] == CONFIGS.parts:
            return config.parent.relative_to(folder).as_posix()
    return config.parent.name


def zoo_configs(package: str = 'mmdet') -> dict[str, Path]:
    """Return one config of each folder that is not excluded, by the folder's
    name: the first that its metafile lists, else the first by its name. Some
    that are unlike the others of their folder have names of their own.

    Raises:
        FileNotFoundError: If the package has no configs.
    """
    zoo, root = zoo_of(package), zoo_folder(package)
    configs = {name: root / path for name, path in zoo.besides.items()}
    for folder in zoo_folders(root, zoo):
        config = first_config(folder)
        if config is not None:
            configs[folder.relative_to(root).as_posix()] = config
    return dict(sorted(configs.items()))


def zoo_folders(root: Path, zoo: Zoo) -> Iterator[Path]:
    """Yield the folders of families."""
    for folder in sorted(root.glob('**/' if zoo.nested else '*/')):
        inside = folder.relative_to(root)
        if folder != root and not any(
                part.as_posix() in zoo.excluded
                for part in (inside, *inside.parents)):
            yield folder


def first_config(folder: Path) -> Path | None:
    """Return the config that stands for a folder; None if there is none."""
    metafile = folder / 'metafile.yml'
    if metafile.is_file():
        models = yaml.safe_load(metafile.read_text())
        if isinstance(models, dict):
            models = models.get('Models', [])
        for model in models:
            config = folder.parent.parent / model.get('Config', '')
            if config.suffix == '.py' and config.is_file():
                return config
    return min(folder.glob('*.py'), default=None)
