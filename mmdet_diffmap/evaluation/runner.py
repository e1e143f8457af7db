# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A runner of mmengine's that measures explanations."""
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner

from ..apis import build_detector
from ..io.checkpoint import is_url, load_weights, read_checkpoint

LOOP, METRIC = 'ExplanationTestLoop', 'ExplanationMetric'
#: Fields of a config that the runner takes as they are. The config's own
#: hooks are not among them: they are for training, or explain images too.
RUNNER_FIELDS = ('default_hooks', 'env_cfg', 'log_processor', 'log_level',
                 'visualizer', 'default_scope', 'randomness')


def own_settings(given: Any, name: str) -> dict[str, Any]:
    """Return the config's settings of our loop or metric, if it is one of
    ours; else its type alone.

    >>> own_settings(dict(type='CocoMetric'), METRIC)
    {'type': 'ExplanationMetric'}
    """
    if isinstance(given, (list, tuple)) and len(given) == 1:
        given = given[0]
    kind = given.get('type') if isinstance(given, dict) else None
    kind = getattr(kind, '__name__', str(kind)).rpartition('.')[2]
    return dict(given, type=name) if kind == name else dict(type=name)


def build_runner(cfg: Config, checkpoint: str) -> Runner:
    """Build a runner for the test alone.

    Args:
        cfg (Config): With a test data loader, and with our loop and metric.
        checkpoint (str): The weights, a file or URL.
    """
    try:
        if is_url(checkpoint) and is_main_process():
            read_checkpoint(checkpoint)  # one download for all
    finally:
        barrier()
    weights = read_checkpoint(checkpoint)
    detector = build_detector(cfg)
    load_weights(detector, weights, checkpoint)
    fields = {name: cfg[name] for name in RUNNER_FIELDS if name in cfg}
    return Runner(
        detector,
        cfg.work_dir,
        test_dataloader=cfg.test_dataloader,
        test_evaluator=cfg.test_evaluator,
        test_cfg=cfg.test_cfg,
        cfg=cfg,
        **fields)
