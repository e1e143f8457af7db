# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the commands have in common.

A command reads its arguments before torch and mmdet are imported: help, and
most mistakes, cost no seconds.
"""
from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..io.package_files import EXPLAINERS
from .memory import keep_freed_memory

if TYPE_CHECKING:
    from mmengine.config import Config


class KeyValues(argparse.Action):
    """Takes KEY=VALUE pairs as mmengine's ``DictAction`` does."""

    def __call__(self,
                 parser: argparse.ArgumentParser,
                 namespace: argparse.Namespace,
                 values: Any,
                 option_string: str | None = None) -> None:
        """Put the pairs into the namespace, as a dict."""
        from mmengine.config import DictAction
        action = DictAction(self.option_strings, self.dest, nargs='+')
        try:
            action(parser, namespace, values, option_string)
        except ValueError:  # it splits at '='
            parser.error('options are given as KEY=VALUE')


def add_options(parser: argparse.ArgumentParser,
                name: str,
                help: str,
                required: bool = False) -> None:
    """Add an argument that takes KEY=VALUE pairs."""
    parser.add_argument(
        name,
        nargs='+',
        action=KeyValues,
        default={},
        required=required,
        metavar='KEY=VALUE',
        help=help)


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add how the detector is run, as in mmdet's tools."""
    parser.add_argument(
        '--device', help='default: the GPU where there is one, else the CPU')
    add_options(parser, '--cfg-options', 'override settings of the config')


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add which detections are explained; see
    :class:`~mmdet_diffmap.explainers.engine.Selection`."""
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='explain detections with a larger score; default: 0.3')
    parser.add_argument(
        '--max-objects',
        type=whole_number,
        help='explain at most so many of an image, best first')


def score(text: str) -> float:
    """Read a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:  # nor is NaN
        raise argparse.ArgumentTypeError(f'{text} is not in [0, 1]')
    return value


def whole_number(text: str) -> int:
    """Read a whole number that is not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is negative')
    return value


def check_inputs(parser: argparse.ArgumentParser,
                 paths: Sequence[str]) -> None:
    """End with an error where a model alone is given."""
    if len(paths) == 1:
        parser.error(f'{paths[0]} alone: give images and a MODEL')


def explainer_configs(config: Config) -> dict[str, dict | str]:
    """Return the configs of all methods that have a name: those of
    ``configs/_base_/explainers.py``, and those in the config's
    ``explainers``."""
    from mmengine.config import Config
    configs = dict(Config.fromfile(EXPLAINERS).explainers)
    configs.update(config.get('explainers', {}))
    return configs


def test_config(args: argparse.Namespace) -> Config:
    """Read the config of a detector with an annotated test set, and find its
    weights: ``args`` has ``config``, ``cfg_options`` and ``checkpoint``, which
    is filled in.

    Raises:
        ValueError: If there are no weights, or no test set.
    """
    from ..apis.loading import load_config, overridden
    cfg, zoo_weights = load_config(args.config)
    if args.cfg_options:
        cfg = overridden(cfg, args.cfg_options)
    args.checkpoint = args.checkpoint or cfg.get('load_from') or zoo_weights
    if not args.checkpoint:
        raise ValueError(f'no weights for {args.config}: neither given, nor '
                         'named by the config (load_from)')
    if not cfg.get('test_dataloader'):
        raise ValueError(f'config {args.config} has no test_dataloader, whose '
                         'images could be measured')
    return cfg


def run(work: Callable[[], int]) -> int:
    """Do a command's work, and return its exit status; what the user can mend
    is one line."""
    # remarks of the host's packages about each other; ours are errors, or
    # logged
    warnings.simplefilter('ignore')
    from .. import plugin  # noqa: F401, the command has not registered it yet
    keep_freed_memory()
    try:
        return work()
    except (OSError, ValueError, TypeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
