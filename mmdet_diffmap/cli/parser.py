# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A parser of arguments, and what it reads."""
from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

Number = TypeVar('Number', int, float)
#: Earlier names of options, and names that others know them by.
OLD_NAMES = {
    '--score-threshold': '--score-thr',
    '--pred-score-thr': '--score-thr',  # of mmdet's demo/image_demo.py
    '--explainers': '--explainer',
    '--method': '--explainer',
    '--colors': '--colours',
    '--update': '--page',
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Writes help in which names such as grad-cam are not broken."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(' '.join(text.split()), width,
                             break_on_hyphens=False)


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
        lines = [broken(f'{prog} {arguments}'.rstrip())
                 for arguments in examples]
        super().__init__(
            prog=prog,
            usage=f'%(prog)s {usage}',
            description=textwrap.fill(description, max(width, 20)),
            epilog='\n'.join(['examples:', *lines]) if lines else None,
            formatter_class=HelpFormatter)
        self.old_names = OLD_NAMES | dict(old_names or {})

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Read the arguments; options may stand between paths.

        Args:
            argv (Sequence[str], optional): The arguments; defaults to the
                program's.
        """
        args = self.parse_intermixed_args(
            list(map(self.current, sys.argv[1:] if argv is None else argv)))
        weights = getattr(args, 'weights', None)
        if 'checkpoint' in args and weights:
            if args.checkpoint:
                self.error('the weights are given twice: as CHECKPOINT, and '
                           'by --weights')
            args.checkpoint = weights
        return args

    def current(self, argument: str) -> str:
        """Write an option by the name that it has now."""
        name, sign, value = argument.partition('=')
        return self.old_names.get(name, name) + sign + value

    def error(self, message: str) -> NoReturn:
        """End with an error, and name the option that is like an unknown
        one."""
        kind, _, arguments = message.partition(': ')
        if kind == 'unrecognized arguments' and arguments.startswith('--'):
            name = re.split('[ =]', arguments)[0]
            like = get_close_matches(name, self.names(), 1)
            message = f'there is no option {name}' + (
                f', but {like[0]}' if like else '; --help lists all')
        super().error(message)

    def names(self) -> list[str]:
        """Return the names of the options that are in the help."""
        return [name for action in self._actions
                if action.help != argparse.SUPPRESS
                for name in action.option_strings if name.startswith('--')]


def broken(command: str, width: int = 77) -> str:
    """Break a command before options, as a shell takes it, and indent it."""
    lines = ['']
    for part in re.split(' (?=--)', command):
        if lines[-1] and len(f'{lines[-1]} {part} \\') > width:
            lines[-1] += ' \\'
            lines.append('   ')
        lines[-1] += f' {part}' if lines[-1] else f'  {part}'
    return '\n'.join(lines)


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
