# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The weights of a multi-object tracker, whose parts are trained apart."""
from typing import Any

from mmdet.models.mot import BaseMOTModel
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from ..io.checkpoint import load_weights, read_checkpoint, weights_of
from ..io.configs import inner_dicts
from ..tracing.tracked_detector import without_detector

#: How mmengine says that a part's weights are those of a file.
PRETRAINED = 'Pretrained'


def is_tracker_config(cfg: Config) -> bool:
    """Whether the model of a config follows objects through videos."""
    kind = cfg.model.get('type')
    if isinstance(kind, str):
        kind = MODELS.get(kind)
    return isinstance(kind, type) and issubclass(kind, BaseMOTModel)


def check_has_detector(cfg: Config) -> None:
    """Raise a ValueError for a config of a tracker without a detector."""
    if 'detector' not in cfg.model and is_tracker_config(cfg):
        kind = cfg.model.type
        raise without_detector(kind if isinstance(kind, str) else
                               kind.__name__)


def load_tracker(tracker: nn.Module, weights: str) -> dict[str, Any]:
    """Load the weights of a tracker: of all of it, or of its detector.

    What a detector's checkpoint leaves out comes from the files that the
    config names for the other parts, as their ``init_cfg``.

    Args:
        tracker (nn.Module): The tracker, with its ``cfg``.
        weights (str): Path or URL; empty if the config's are meant.

    Returns:
        dict: The checkpoint from which the detector came.

    Raises:
        ValueError: If a part has no weights, or they do not fit.
        OSError: If they cannot be read or downloaded.
    """
    parts = {name: part for name, part in tracker.named_children()
             if any(True for _ in part.parameters())}
    config: Any = tracker.cfg
    files = {name: pretrained(config, name) for name in parts}
    if weights:
        checkpoint = read_checkpoint(weights)
        if any(name.startswith('detector.')
               for name in weights_of(checkpoint)):
            load_weights(tracker, checkpoint, weights)
            return checkpoint
        files['detector'] = weights
    checkpoints = {}
    for name, file in files.items():
        if not file:
            raise ValueError(
                f'no weights for {name} of {type(tracker).__name__}: neither '
                f'given, nor named by the config (model.{name}.init_cfg)')
        checkpoints[name] = read_checkpoint(file)
        load_weights(parts[name], checkpoints[name], file)
    return checkpoints['detector']


def pretrained(cfg: Config, name: str) -> str:
    """Return the file of weights that a config names for a part of a tracker;
    empty if there is none."""
    part = cfg.model.get(name)
    for settings in inner_dicts((part or {}).get('init_cfg')):
        if settings.get('type') == PRETRAINED:
            return str(settings['checkpoint'])
    return ''
