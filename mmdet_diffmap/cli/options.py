# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the commands have in common.

A command reads its arguments before torch and mmdet are imported: help, and
most mistakes, cost no seconds.
"""
from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..io.package_files import EXPLAINERS
from .memory import keep_freed_memory

if TYPE_CHECKING:
    from mmengine.config import Config


Number = TypeVar('Number', int, float)
#: Earlier names of options, and names that others know them by.
OLD_NAMES = {
    '--score-threshold': '--score-thr',
    '--pred-score-thr': '--score-thr',  # of mmdet's demo/image_demo.py
    '--explainers': '--explainer',
    '--method': '--explainer',
    '--colors': '--colours',
}
#: Those of visualization/colours.py, which takes long to import.
COLOURS = ('safe', 'inferno', 'viridis', 'classic')


class CommandParser(argparse.ArgumentParser):
    """Reads the arguments of a command.

    Args:
        prog (str): The command, as it is typed.
        usage (str): Its arguments, in a line.
        description (str): What it does.
        examples (Sequence[str]): Commands that work.
        old_names (Mapping[str, str]): For names of options that are not in
            the help, those that are. They are added to ``OLD_NAMES``.
    """

    def __init__(self,
                 prog: str,
                 usage: str,
                 description: str,
                 examples: Sequence[str] = (),
                 old_names: Mapping[str, str] | None = None) -> None:
        width = min(shutil.get_terminal_size().columns, 80) - 2
        lines = [f'  {prog} {arguments}' for arguments in examples]
        super().__init__(
            prog=prog,
            usage=f'%(prog)s {usage}',
            description=textwrap.fill(description, max(width, 20)),
            epilog='\n'.join(['examples:', *lines]) if lines else None,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        self.old_names = OLD_NAMES | dict(old_names or {})

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Read the arguments; options may stand between paths.

        Args:
            argv (Sequence[str], optional): The arguments; defaults to the
                program's.
        """
        return self.parse_intermixed_args(
            list(map(self.current, sys.argv[1:] if argv is None else argv)))

    def current(self, argument: str) -> str:
        """Write an option by the name that it has now."""
        name, sign, value = argument.partition('=')
        return self.old_names.get(name, name) + sign + value


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


def add_options(parser: argparse._ActionsContainer,
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


def add_detector_options(parser: argparse._ActionsContainer) -> None:
    """Add how the detector is run, as in mmdet's tools."""
    parser.add_argument(
        '--device', help='default: the GPU where there is one, else the CPU')
    add_options(parser, '--cfg-options', 'override settings of the config')


def add_colours(parser: argparse._ActionsContainer) -> None:
    """Add how maps are coloured; see
    :func:`~mmdet_diffmap.visualization.use_colours`."""
    parser.add_argument(
        '--colours',
        choices=COLOURS,
        default=COLOURS[0],
        help='of maps in pictures and pages: '
        f'{", ".join(COLOURS[:-1])} or {COLOURS[-1]}; all but the last can be '
        f'read by the colour-blind; default: {COLOURS[0]}')


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


def score(text: str) -> float:
    """Read a number in [0, 1]."""
    return number(text, float, 'a number from 0 to 1',
                  lambda value: 0 <= value <= 1)


def whole_number(text: str) -> int:
    """Read a whole number that is not negative."""
    return number(text, int, 'a whole number, 0 or more',
                  lambda value: value >= 0)


def count(text: str) -> int:
    """Read a whole number that is not zero."""
    return number(text, int, 'a whole number, 1 or more',
                  lambda value: value >= 1)


def duration(text: str) -> float:
    """Read a number of seconds that is more than zero."""
    return number(text, float, 'a number of seconds above 0',
                  lambda value: 0 < value < float('inf'))


def number(text: str, kind: type[Number], wanted: str,
           allowed: Callable[[Number], bool]) -> Number:
    """Read a number.

    Args:
        text (str): What was typed.
        kind (type): float or int.
        wanted (str): Which numbers are allowed, for the message.
        allowed (Callable): Whether a number is; NaN must not be.

    Raises:
        argparse.ArgumentTypeError: If it is none, or not allowed.
    """
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not allowed(value):
        raise argparse.ArgumentTypeError(f'{text} is not {wanted}')
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
