# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The configs and tools that belong to the package.

They lie where OpenMMLab's packages have them, in ``mmdet_diffmap/.mim``: in a
checkout, links to the folders of the repository; in a wheel, copies.
"""
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / '.mim'
CONFIGS = (FOLDER / 'configs').resolve()
TOOLS = (FOLDER / 'tools').resolve()
#: The methods by the names that the tools take.
EXPLAINERS = CONFIGS / '_base_/explainers.py'
#: How a config of the package is named from anywhere.
PREFIX = 'mmdet_diffmap::'


def bundled_config(name: str) -> Path:
    """Return the file that ``mmdet_diffmap::FOLDER/FILE.py`` stands for.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = CONFIGS / name.removeprefix(PREFIX)
    if not path.is_file():
        names = ', '.join(
            f'{config.parent.name}/{config.name}'
            for config in sorted(CONFIGS.glob('*/*.py'))
            if config.parent.name != '_base_')
        raise FileNotFoundError(f'{name} does not exist: {PREFIX} has {names}')
    return path
