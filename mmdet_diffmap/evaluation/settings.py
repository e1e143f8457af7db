# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the figures of a run depend on."""
import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmdet
import mmengine
import torch
from mmengine.dist import get_world_size
from torch import nn

from ..version import __version__

#: Where data lie does not change results.
PLACES = ('data_root', 'data_prefix', 'backend_args', 'lazy_init')


def run_settings(cfg: Mapping[str, Any], model: nn.Module, dataset: Any,
                 **measured: Any) -> dict[str, Any]:
    """Return all that changes the figures of a run, ready for JSON. A run can
    only go on with the same.

    Args:
        cfg (Mapping): The config of the detector and the data set.
        model (nn.Module): The detector with its weights.
        dataset (Any): The data set.
        **measured: What is measured, and how.
    """
    loader = cfg.get('test_dataloader')
    data = loader.get('dataset', {}) if isinstance(loader, dict) else {}
    settings = dict(
        version=__version__,
        model=cfg.get('model'),  # but for where its weights came from
        weights=weights_hash(model),
        dataset={key: value for key, value in data.items()
                 if key not in PLACES},
        annotations=file_hash(getattr(dataset, 'ann_file', '')),
        **measured)
    return json.loads(json.dumps(without(settings, 'init_cfg'), default=str))


def without(tree: Any, name: str) -> Any:
    """Copy nested dicts and lists without the keys of one name.

    >>> without(dict(a=1, b=[dict(a=2, c=3)]), 'a')
    {'b': [{'c': 3}]}
    """
    if isinstance(tree, Mapping):
        return {key: without(value, name)
                for key, value in tree.items() if key != name}
    if isinstance(tree, (list, tuple)):
        return [without(value, name) for value in tree]
    return tree


def file_hash(path: str) -> str | None:
    """Compute the SHA-256 of a file; None if it is none of this machine's."""
    if not path or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def run_environment(device: torch.device, batch_size: int) -> dict[str, Any]:
    """Return what changes the figures by rounding only."""
    return dict(
        device=torch.cuda.get_device_name(device)
        if device.type == 'cuda' else platform.processor() or 'CPU',
        processes=get_world_size(),
        threads=torch.get_num_threads(),
        forward_batch_size=batch_size,
        torch=torch.__version__,
        mmdet=mmdet.__version__,
        mmengine=mmengine.__version__)


def weights_hash(model: nn.Module) -> str:
    """Compute the SHA-256 of all weights with their names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
