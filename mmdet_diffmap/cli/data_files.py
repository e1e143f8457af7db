# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Whether the files of a config's test set are there, before mmdet opens
them."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

#: What a data set's ``data_prefix`` calls the folders of its images.
IMAGES = ('img', 'img_path', 'sub_data_root')


def check_test_data(cfg: Config, evaluator: bool = False,
                    instead: str = '') -> None:
    """Raise an error if a file or folder of the test set is missing.

    Only what lies in the file system is looked for.

    Args:
        cfg (Config): With a ``test_dataloader``.
        evaluator (bool): Whether the config's ``test_evaluator`` will be
            used, which has a file of annotations of its own.
        instead (str): What can be given in place of the test set.

    Raises:
        FileNotFoundError: That names what is missing, and the settings that
            say where it lies.
    """
    missing = list(missing_data(cfg.test_dataloader.dataset,
                                'test_dataloader.dataset'))
    if evaluator:
        missing += missing_annotations(cfg.get('test_evaluator'))
    if missing:
        settings = ' '.join(dict.fromkeys(setting for _, setting in missing))
        raise FileNotFoundError(
            f'the test set is not there: {missing[0][0]} does not exist; say '
            f'where it lies by --cfg-options {settings}, or in the config' +
            f'; or give {instead}' * bool(instead))


def missing_data(dataset: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield what a data set lacks: the path, and the setting that names it.

    Args:
        dataset (dict): The config of a data set, or of one around others.
        key (str): Where it stands in the whole config.
    """
    if 'dataset' in dataset:  # wrapped
        yield from missing_data(dataset['dataset'], f'{key}.dataset')
        return
    if 'datasets' in dataset:  # joined
        for number, part in enumerate(dataset['datasets']):
            yield from missing_data(part, f'{key}.datasets.{number}')
        return
    if not is_local(dataset):
        return
    root = dataset.get('data_root') or ''
    if root and not Path(root).is_dir():
        path = os.path.join(root, dataset.get('ann_file') or '')
        yield path, f'{key}.data_root=FOLDER'
        return
    annotations = dataset.get('ann_file')
    if annotations and not Path(root, annotations).exists():
        yield os.path.join(root, annotations), f'{key}.ann_file=FILE'
    prefixes = dataset.get('data_prefix') or {}
    for name in IMAGES:
        folder = prefixes.get(name)
        if folder and '://' not in folder and \
                not Path(root, folder).is_dir():
            yield (os.path.join(root, folder),
                   f'{key}.data_prefix.{name}=FOLDER')


def missing_annotations(evaluator: Any) -> Iterator[tuple[str, str]]:
    """Yield the files of annotations that metrics lack, in the same way."""
    several = isinstance(evaluator, (list, tuple))
    for number, metric in enumerate(evaluator if several else [evaluator]):
        path = (metric or {}).get('ann_file')
        if path and is_local(metric) and not Path(path).exists():
            place = f'.{number}' if several else ''
            yield path, f'test_evaluator{place}.ann_file=FILE'


def is_local(config: Any) -> bool:
    """Whether a config's files are those of the file system."""
    backend = config.get('backend_args') or {}
    return backend.get('backend', 'local') == 'local' and not any(
        '://' in str(config.get(name) or '')
        for name in ('data_root', 'ann_file'))
