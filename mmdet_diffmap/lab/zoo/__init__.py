# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Are the detectors of a model zoo explained, mmdet's or another package's?

``families.py`` knows the zoos' folders, ``small.py`` makes a small random
detector of a config, ``check.py`` explains what it finds and compares the
gradients, ``processes.py`` checks many, each in a process of its own.
"""
from .check import SIZES, Checked, check_config
from .families import family_of, zoo_configs, zoo_of
from .processes import check_each

__all__ = [
    'SIZES', 'Checked', 'check_config', 'check_each', 'family_of',
    'zoo_configs', 'zoo_of'
]
