# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the figures of a run depend on."""
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import mmdet
import mmengine
import torch
from mmengine.dist import get_world_size
from torch import nn

from ..explainers.explainer import ExplainerLike, explainer_config
from ..version import __version__
from .protocol import Protocol

#: Where data lie does not change results.
PLACES = ('data_root', 'data_prefix', 'backend_args', 'lazy_init')


def run_settings(cfg: Mapping[str, Any], model: nn.Module,
                 explainers: Mapping[str, ExplainerLike],
                 protocol: Protocol) -> dict[str, Any]:
    """All that changes the figures of a run, ready for JSON. A run can only
    go on with the same.

    Args:
        cfg (Mapping): The config of the detector and the data set.
        model (nn.Module): The detector with its weights.
        explainers (Mapping): Configs or names of methods, by their names.
        protocol (Protocol): What is measured.
    """
    data = dict(cfg['test_dataloader']['dataset'])
    settings = dict(
        version=__version__,
        model=cfg['model'],
        weights=weights_hash(model),
        dataset={key: value for key, value in data.items()
                 if key not in PLACES},
        explainers={
            name: explainer_config(one)  # type: ignore[arg-type]
            for name, one in explainers.items()
        },
        protocol=asdict(protocol))
    return json.loads(json.dumps(settings, default=str))


def run_environment(device: torch.device, batch_size: int) -> dict[str, Any]:
    """What changes the figures by rounding only."""
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
    """SHA-256 of all weights.

    Raises:
        ValueError: If one of them is not finite.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f'the weights {name} hold values that are not '
                             'finite')
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
