# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the tools have in common."""
import argparse
import sys
from collections.abc import Callable

from mmengine.config import Config, DictAction

from ..io.package_files import EXPLAINERS
from .memory import keep_freed_memory


def add_options(parser: argparse.ArgumentParser,
                name: str,
                help: str,
                required: bool = False) -> None:
    """An argument that takes KEY=VALUE pairs."""
    parser.add_argument(
        name,
        nargs='+',
        action=DictAction,
        default={},
        required=required,
        metavar='KEY=VALUE',
        help=help)


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """How the detector is run, as in mmdet's tools."""
    parser.add_argument(
        '--device', help='default: the GPU where there is one, else the CPU')
    add_options(parser, '--cfg-options', 'override settings of the config')


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; wrong KEY=VALUE pairs are an error like others."""
    try:
        return parser.parse_args()
    except ValueError:  # mmengine's DictAction splits at '='
        parser.error('options are given as KEY=VALUE')


def known_explainers(config: Config) -> dict[str, dict | str]:
    """The configs of all methods that have a name of their own: those of
    ``configs/_base_/explainers.py``, and those in the config's
    ``explainers``."""
    known = dict(Config.fromfile(EXPLAINERS).explainers)
    known.update(config.get('explainers', {}))
    return known


def run(main: Callable[[], int]) -> int:
    """A tool's exit status; what the user can mend is one line."""
    keep_freed_memory()
    try:
        return main()
    except (OSError, ValueError, TypeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
