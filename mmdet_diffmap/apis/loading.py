# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector from its config and weights."""
import copy
import os
from pathlib import Path
from typing import Any

import torch
from mmdet.apis import DetInferencer
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from torch import nn

from ..io.checkpoint import first_line, load_weights, read_checkpoint
from ..io.configs import inner_dicts
from ..io.package_files import PREFIX, bundled_config
from ..tracing.detector import unwrapped
from .image_pipeline import scope_of
from .loading_trackers import check_has_detector, load_tracker


def load_detector(model: str | os.PathLike | Config,
                  weights: str | os.PathLike | None = None,
                  device: str | None = None,
                  cfg_options: dict[str, Any] | None = None) -> nn.Module:
    """Build a detector, or a tracker of mmdet, and load its weights.

    Args:
        model (str | PathLike | Config): A config, the path of one, a config
            of mmdet's wheel (``mmdet::fcos/….py``) or of this package
            (``mmdet_diffmap::fcos/….py``), or a name of mmdet's model zoo
            (``rtmdet_tiny_8xb32-300e_coco``).
        weights (str | PathLike, optional): Path or URL of the checkpoint.
            Defaults to the config's ``load_from``, or to the zoo's. Of a
            tracker, the checkpoint of all of it or of its detector; other
            parts, and by default all, come from the files that the config
            names as their ``init_cfg``.
        device (str, optional): Defaults to the GPU where there is one.
        cfg_options (dict, optional): Settings that override the config's.

    Returns:
        nn.Module: The detector in evaluation mode, with ``cfg`` and
        ``dataset_meta`` as mmdet's ``init_detector`` gives them.

    Raises:
        ValueError: If the config is none, has no weights, or they do not fit.
        OSError: If the weights cannot be read or downloaded.

    Example:
        >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
        >>> class_names(model)[:3]
        ['fish', 'tree', 'house']
    """
    cfg, zoo_weights = load_config(model)
    if cfg_options:
        cfg = overridden(cfg, cfg_options)
    check_has_detector(cfg)
    weights = os.fspath(weights or cfg.get('load_from') or zoo_weights or '')
    if not weights and 'detector' not in cfg.model:  # a tracker's parts
        raise ValueError(f'no weights for {model}: neither given, nor named '
                         'by the config (load_from)')
    target = available_device(device)
    if 'detector' in cfg.model:
        detector = build_detector(cfg)
        checkpoint = load_tracker(detector, weights)
    else:
        checkpoint = read_checkpoint(weights)
        detector = build_detector(cfg)
        load_weights(detector, checkpoint, weights)
    meta: Any = dataset_meta(checkpoint, cfg)
    detector.dataset_meta = meta
    detector.to(target).eval()  # returns nothing in distilled detectors
    return detector


def build_detector(cfg: Config) -> nn.Module:
    """Build the detector of a config with no weights loaded, as one process
    runs it.

    Raises:
        OSError: If its language model cannot be read, or downloaded.
        ValueError: If the config names a module that does not exist, or gives
            it arguments that it does not take.
    """
    register_all_modules(init_default_scope=False)
    init_default_scope(scope_of(cfg))
    model = copy.deepcopy(cfg.model)
    for part in inner_dicts(model):
        if part.get('type') == 'MMSyncBN':  # needs several even to be built
            part['type'] = 'SyncBN'
    try:
        detector = MODELS.build(model)
    except Exception as error:  # each module checks its arguments its own way
        where = f'config {cfg.filename}' if cfg.filename else 'the config'
        check_language_model(model, where, error)
        reason = ' '.join(first_line(error).split())  # some are indented
        raise ValueError(f'the model of {where} cannot be built: '
                         f'{reason}') from error
    detector = revert_sync_batchnorm(detector)
    for head in detector.modules():
        # what mmdet 3.3.0 asks for when it predicts, and SSD's does not have
        if isinstance(head, BaseDenseHead) and not hasattr(head, 'loss_cls'):
            head.loss_cls = None
    detector.cfg = cfg
    return detector


def check_language_model(model: dict[str, Any], where: str,
                         error: Exception) -> None:
    """Raise an OSError if a text-prompted detector could not be built since
    its language model cannot be read."""
    name = (model.get('language_model') or {}).get('name')
    while name is not None and not isinstance(error, OSError) and \
            not type(error).__module__.startswith('huggingface_hub'):
        cause = error.__cause__ or error.__context__
        if not isinstance(cause, Exception):
            return
        error = cause
    if name is None:
        return
    options = ['model.language_model.name'] + [
        f'model.{part}.lang_model_name' for part in model
        if isinstance(model[part], dict) and 'lang_model_name' in model[part]]
    raise OSError(
        f'the language model {name!r} of {where} is no folder here, and '
        'cannot be loaded from Hugging Face: give the folder that it is in, '
        f'--cfg-options {" ".join(f"{each}=FOLDER" for each in options)}'
    ) from error


def load_config(
        model: str | os.PathLike | Config) -> tuple[Config, str | None]:
    """Return the config that ``model`` names, and the weights that the zoo has
    for it."""
    if isinstance(model, Config):
        return model, None
    name = os.fspath(model)
    if name.startswith(PREFIX):
        return read_config(str(bundled_config(name))), None
    if Path(name).suffix == '.py' and '::' not in name:
        if not Path(name).is_file():
            raise FileNotFoundError(f'config {name} does not exist')
        return read_config(name), None
    cfg, weights = find_in_wheel(name) if '::' in name else find_in_zoo(name)
    check_describes_model(cfg, name)
    return cfg, weights


def is_in_zoo(name: str) -> bool:
    """Whether mmdet's model zoo has a detector of that name."""
    try:
        find_in_zoo(name)
    except UnknownModelError:
        return False
    except ValueError:  # it has, but not complete
        return True
    return True


def find_in_wheel(name: str) -> tuple[Config, str | None]:
    """Return a config of mmdet's wheel, and the weights that the zoo has for
    it."""
    try:
        try:
            cfg = get_config(name, pretrained=True)
        except AssertionError:  # how mmengine says that there are none
            cfg = get_config(name)
    except (ValueError, FileNotFoundError, AssertionError) as error:
        raise ValueError(f'{name} is no config of an installed package, such '
                         'as mmdet::fcos/….py') from error
    return cfg, cfg.get('model_path')


class UnknownModelError(ValueError):
    """mmdet's model zoo has no model of that name."""


def find_in_zoo(name: str) -> tuple[Config, str]:
    """Config and weights by a name of mmdet's model zoo."""
    finder = DetInferencer.__new__(DetInferencer)  # __init__ loads a model
    finder.scope = 'mmdet'
    try:
        return finder._load_model_from_metafile(name)
    except KeyError as error:  # entries without weights
        raise ValueError(f'the model zoo has no {error.args[0].lower()} for '
                         f'{name}: give its config, and --weights') from error
    except FileNotFoundError as error:
        raise ValueError(f'the model zoo has {name}, but mmdet is installed '
                         'without its config') from error
    except ValueError as error:
        raise UnknownModelError(
            f'{name} is no config file, no config of mmdet\'s wheel (mmdet::…)'
            ' and no name of its model zoo') from error


def overridden(cfg: Config, options: dict[str, Any]) -> Config:
    """Return a copy of the config with some settings replaced."""
    cfg = copy.deepcopy(cfg)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError) as error:
        raise ValueError(f'the config has no place for {options}: '
                         f'{first_line(error)}') from error
    return cfg


def read_config(name: str) -> Config:
    """Return the config in a file."""
    try:
        cfg = Config.fromfile(name)
    except Exception as error:  # a config is a program: it can raise anything
        raise ValueError(f'config {name} cannot be read: '
                         f'{first_line(error)}') from error
    check_describes_model(cfg, name)
    return cfg


def check_describes_model(cfg: Config, name: str) -> None:
    """Raise a ValueError for a config without a model."""
    if 'model' not in cfg:
        raise ValueError(f'config {name} describes no model')


def dataset_meta(checkpoint: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Return what the checkpoint, else the config's test data set, says of the
    classes."""
    meta = checkpoint.get('meta') or {}
    if 'dataset_meta' in meta:  # its keys were upper case once
        return {k.lower(): v for k, v in meta['dataset_meta'].items()}
    if 'CLASSES' in meta:  # mmdet 2
        return dict(classes=tuple(meta['CLASSES']))
    dataset = dict(cfg.test_dataloader.dataset, lazy_init=True)
    with DefaultScope.overwrite_default_scope(scope_of(cfg)):
        return dict(DATASETS.build(dataset).metainfo)


def class_names(model: nn.Module) -> list[str]:
    """Return the names of the classes that a detector was trained for."""
    meta: Any = getattr(unwrapped(model), 'dataset_meta', {})
    if 'classes' not in meta:
        raise ValueError('the model does not know its classes: set '
                         'model.dataset_meta = dict(classes=[...])')
    return list(meta['classes'])


def detector_name(model: nn.Module) -> str:
    """Return what to call a detector: its config's file without the ending,
    or its class where it has no such file."""
    detector = unwrapped(model)
    cfg = getattr(detector, 'cfg', None)
    file: str | None = getattr(cfg, 'filename', None)
    return Path(file).stem if file else type(detector).__name__


def available_device(name: str | None) -> torch.device:
    """Return the device of that name; with none, the GPU where there is one.

    Raises:
        ValueError: If there is no such device.
    """
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'device {name} cannot be used: '
                         f'{first_line(error)}') from error
