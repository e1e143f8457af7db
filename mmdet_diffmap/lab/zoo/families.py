# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The folders of mmdet's configs, and one config of each."""
from pathlib import Path

import mmdet
import yaml

TRACKER = 'follows objects in videos'
GROUNDING = 'is asked with a text'
SEGMENTATION = 'gives masks without boxes of their own'
PARTS = 'holds parts of configs only'

#: Folders without a detector that could be explained, and why.
EXCLUDED = {
    '_base_': PARTS,
    'common': PARTS,
    'dsdl': 'needs data sets in a format of their own, for models of others',
    'bytetrack': TRACKER,
    'deepsort': TRACKER,
    'mask2former_vis': TRACKER,
    'masktrack_rcnn': TRACKER,
    'ocsort': TRACKER,
    'qdtrack': TRACKER,
    'reid': 'tells persons apart and finds none',
    'sort': TRACKER,
    'strongsort': TRACKER,
    'glip': GROUNDING,
    'grounding_dino': GROUNDING,
    'mm_grounding_dino': GROUNDING,
    'mask2former': SEGMENTATION,
    'maskformer': SEGMENTATION,
    'panoptic_fpn': 'gives a panoptic segmentation',
    'solo': SEGMENTATION,
    'solov2': SEGMENTATION,
}


def zoo_folder() -> Path:
    """Return the folder in which the wheel of mmdet has its configs.

    Raises:
        FileNotFoundError: If it was installed without.
    """
    folder = Path(mmdet.__file__).parent / '.mim' / 'configs'
    if not folder.is_dir():
        raise FileNotFoundError('mmdet is installed without its configs '
                                f'({folder}): install its wheel')
    return folder


def family_of(config: Path) -> str:
    """Return the name of a config's folder.

    >>> family_of(Path('configs/fcos/fcos_r50_1x_coco.py'))
    'fcos'
    """
    return config.parent.name


def zoo_configs() -> dict[str, Path]:
    """Return one config of each folder that is not excluded, by the folder's
    name: the first that its metafile lists, else the first by its name."""
    configs = {}
    for folder in sorted(zoo_folder().iterdir()):
        if not folder.is_dir() or folder.name in EXCLUDED:
            continue
        config = first_config(folder)
        if config is not None:
            configs[folder.name] = config
    return configs


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
