# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the commands have in common.

A command reads its arguments before torch and mmdet are imported: help, and
most mistakes, cost no seconds.
"""
from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..host import NoHostError
from ..io.package_files import EXPLAINERS
from .memory import keep_freed_memory
from .parser import (
    CommandParser,
    add_options,
    count,
    duration,
    number,
    score,
    whole_number,
)

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = [
    'CommandParser', 'add_options', 'count', 'duration', 'number', 'score',
    'whole_number'
]

#: What the user's mistakes raise.
MISTAKES = (OSError, ValueError, TypeError, NoHostError)
#: The exit status of a program that its user ends, by Ctrl-C.
INTERRUPTED = 130
#: Those of visualization/colours.py, which takes long to import.
COLOURS = ('safe', 'inferno', 'viridis', 'classic')
#: What starts several processes; as in ``distributed``.
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_images(group: argparse._ActionsContainer) -> None:
    """Add images and, last, the detector, as ``explain`` takes them."""
    group.add_argument(
        'paths',
        nargs='+',
        metavar='INPUTS ... MODEL',
        help='images and, last, the detector; as of mmdet-diffmap explain')


def add_weights(group: argparse._ActionsContainer,
                default: str = 'the one that the config or the model zoo '
                'names') -> None:
    """Add the weights of a detector that stands behind images."""
    group.add_argument(
        '--weights',
        metavar='WEIGHTS',
        help=f'checkpoint file or URL; default: {default}')


def add_method(group: argparse._ActionsContainer,
               default: Sequence[str] = ('odam', )) -> None:
    """Add methods and their options."""
    group.add_argument(
        '--explainer',
        nargs='+',
        default=list(default),
        metavar='NAME',
        help=f'methods; default: {" ".join(default)}')
    add_options(group, '--explainer-options',
                'options of the explainers that have them')


def add_annotated_detector(group: argparse._ActionsContainer) -> None:
    """Add a detector with an annotated test set, as mmdet's ``tools/test.py``
    takes it."""
    add_detector(group, 'any config of a detector with an annotated test set')


def add_detector(group: argparse._ActionsContainer,
                 config: str = 'the detector') -> None:
    """Add a config and its weights.

    Args:
        group (ArgumentGroup): What they are added to.
        config (str): What the config must be.
    """
    group.add_argument(
        'config',
        metavar='CONFIG',
        help=f'{config}: a file, a config of mmdet\'s wheel (mmdet::...), or '
        'a name of its model zoo')
    add_checkpoint(group)


def add_checkpoint(group: argparse._ActionsContainer,
                   default: str = 'those that the config or the model zoo '
                   'names') -> None:
    """Add the weights, after the config; ``--weights``, as where images are
    given, does too."""
    group.add_argument(
        'checkpoint',
        nargs='?',
        metavar='CHECKPOINT',
        help=f'its weights, a file or URL; default: {default}')
    group.add_argument('--weights', help=argparse.SUPPRESS)


def add_annotated_images(group: argparse._ActionsContainer) -> None:
    """Add a folder of images and their annotations."""
    group.add_argument(
        '--annotations', metavar='FILE',
        help='annotations in COCO\'s format of the images in --images')
    group.add_argument(
        '--images', metavar='FOLDER',
        help='the images of --annotations')


def add_score_threshold(group: argparse._ActionsContainer) -> None:
    """Add which detections count."""
    group.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        metavar='SCORE',
        help='detections with a larger score count; default: 0.3')


def add_colours(group: argparse._ActionsContainer) -> None:
    """Add how maps are coloured; see
    :func:`~mmdet_diffmap.visualization.use_colours`."""
    group.add_argument(
        '--colours',
        choices=COLOURS,
        default=COLOURS[0],
        metavar='NAME',
        help='of maps in pictures and pages: '
        f'{", ".join(COLOURS[:-1])} or {COLOURS[-1]}; all but the last can be '
        f'read by the colour-blind; default: {COLOURS[0]}')


def add_page(group: argparse._ActionsContainer, example: str) -> None:
    """Add a page of the documentation that gets the tables."""
    group.add_argument(
        '--page',
        metavar='FILE',
        help=f'also put the tables into this page, such as {example}')


def add_json(group: argparse._ActionsContainer) -> None:
    """Add a file that gets all figures."""
    group.add_argument(
        '--json', metavar='FILE', help='write all figures into this file')


def add_repeat(group: argparse._ActionsContainer) -> None:
    """Add how often times are measured."""
    group.add_argument(
        '--repeat',
        type=count,
        default=3,
        metavar='N',
        help='times are the median of so many; default: 3')


def add_run(group: argparse._ActionsContainer) -> None:
    """Add how a run over a data set goes on, and on how many processes."""
    group.add_argument(
        '--resume',
        action='store_true',
        help='go on with what is in the work dir, with any number of '
        'processes')
    group.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started several processes; default: none')
    # torch.distributed.launch of old passes it
    group.add_argument('--local_rank', '--local-rank', type=int,
                       help=argparse.SUPPRESS)


def add_detector_options(parser: argparse._ActionsContainer) -> None:
    """Add how the detector is run, as in mmdet's tools."""
    parser.add_argument(
        '--device', help='default: the GPU where there is one, else the CPU')
    add_options(parser, '--cfg-options', 'override settings of the config')


def add_selection(parser: argparse._ActionsContainer) -> None:
    """Add which detections are explained; see
    :class:`~mmdet_diffmap.explainers.engine.Selection`."""
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        metavar='SCORE',
        help='explain detections with a larger score; default: 0.3')
    parser.add_argument(
        '--max-objects',
        type=whole_number,
        metavar='N',
        help='explain at most so many of an image, best first')


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


def run(work: Callable[[], int],
        resume: bool = False,
        mistakes: tuple[type[Exception], ...] = MISTAKES,
        register: bool = True) -> int:
    """Do a command's work, and return its exit status; what the user can mend
    is one line.

    Args:
        work (Callable): The work; it returns the status.
        resume (bool): Whether the command has the option ``--resume``.
        mistakes (tuple): Exceptions whose messages are for the user.
        register (bool): Whether the work needs what the package registers;
            it imports torch and mmdet.
    """
    try:
        # remarks of the host's packages about each other; ours are errors, or
        # logged
        warnings.simplefilter('ignore')
        if register:
            from .. import plugin  # noqa: F401
        keep_freed_memory()
        return work()
    except (Exception, KeyboardInterrupt) as error:
        interruption = interruption_behind(error)
        if interruption is not None:
            if os.environ.get('RANK', '0') == '0':  # a line for all processes
                print(last_words(getattr(interruption, 'done', ''), resume),
                      file=sys.stderr)
            return INTERRUPTED
        if not isinstance(error, mistakes):
            raise
        print(f'error: {error}', file=sys.stderr)
        return 1


def interruption_behind(error: BaseException | None
                        ) -> KeyboardInterrupt | None:
    """Return the KeyboardInterrupt that an error is, or from which it came:
    mmengine makes it another one while it formats a config."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def last_words(done: str, resume: bool) -> str:
    """Write what is left of a run that its user has ended.

    >>> last_words('', True), last_words('2 of 9 images', False)
    ('interrupted', 'interrupted: 2 of 9 images are finished')
    """
    if not done:
        return 'interrupted'
    return f'interrupted: {done} are finished' + (
        '; the same command with --resume goes on from there' if resume
        else '')
