# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What of a tracker's config is checked: its detector."""
from mmengine.config import Config

from ...apis.loading_trackers import is_tracker_config

#: What a tracker's model needs to hold a detector.
KEPT = ('type', 'data_preprocessor', 'detector')


def keep_detector(cfg: Config) -> None:
    """Leave in a tracker's config what its detector needs, in place.

    The rest follows what was found: some of it has weights to download, or
    needs packages that the detector does not.

    Args:
        cfg (Config): Of any model; that of a plain detector stays as it is.
    """
    if is_tracker_config(cfg):
        for name in set(cfg.model) - {*KEPT}:
            cfg.model.pop(name)
