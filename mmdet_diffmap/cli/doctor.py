# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Look whether all that is needed is installed and works, for a detector too.

The exit status is 0 if it does.
"""
from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from . import options
from .data_files import check_test_data
from .explain_arguments import DEMO, DEMO_IMAGES
from .installation import (
    Line,
    machine,
    model_zoo,
    optional_packages,
    packages,
)

if TYPE_CHECKING:
    from mmengine.config import Config

COLOURS = dict(ok='green', note='yellow', problem='bold red')
#: What each strategy of gradients costs, as docs/speed.md measures it.
COSTS = {
    'roi': 'a part of a forward pass for all objects',
    'window': 'a part of a forward pass for all objects',
    'coupled': 'about a forward pass for all objects',
    'dense': 'a backward pass for each output of each object',
    'pooled': 'a backward pass through all stages for each output of each '
              'object',
    'whole': 'a backward pass through the whole detector for each output of '
             'each object',
}
#: Seconds for a small copy of a detector.
LIMIT = 300.


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'mmdet-diffmap doctor', '[CONFIG [CHECKPOINT]] [options]',
        'Look whether all that is needed is installed and works: packages, '
        'the machine, the model zoo, an explanation of a bundled scene. With '
        'a config, also whether its weights fit, its test set is there, and '
        'its detector can be explained. Nothing is downloaded. The exit '
        'status is 0 if all that is needed works.', [
            '',
            'my_config.py my_weights.pth',
        ])
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument(
        'config',
        nargs='?',
        metavar='CONFIG',
        help='a detector to look at: a config, a config of mmdet\'s wheel '
        '(mmdet::...), or a name of its model zoo')
    options.add_checkpoint(inputs)
    options.add_detector_options(parser.add_argument_group('detector'))
    return parser.read(argv)


def look(args: argparse.Namespace, console: Console) -> int:
    """Look at everything, print it, and return the exit status."""
    problems = show(console, 'Packages', packages())
    if problems:  # nothing could be imported
        return verdict(console, problems)
    from .. import plugin  # noqa: F401, registers all
    problems += show(console, 'Machine', machine())
    problems += show(console, 'Optional packages', optional_packages())
    problems += show(console, 'Network', iter([model_zoo()]))
    problems += show(console, 'Bundled detector', demo(args.device))
    if args.config:
        problems += show(console, args.config, detector(args))
    return verdict(console, problems)


def show(console: Console, title: str, lines: Iterator[Line]) -> int:
    """Print what was found out, and return how many problems there are."""
    console.print(Text(title, style='bold'))
    problems = 0
    for line in lines:
        head = Text(f'{line.state:7} ', style=COLOURS[line.state])
        head.append(f'{line.name:14} ', style='default')
        body = textwrap.wrap(
            line.text + (f'; {line.way_out}' if line.way_out else ''),
            max(console.width - len(head), 20), break_long_words=False,
            break_on_hyphens=False)
        head.append(f'\n{" " * len(head)}'.join(body), style='default')
        console.print(head, soft_wrap=True)
        problems += line.state == 'problem'
    console.print()
    return problems


def verdict(console: Console, problems: int) -> int:
    """Print the end, and return the exit status."""
    if problems:
        console.print(f'{problems} problem{"s" * (problems != 1)}; each line '
                      'says the way out')
        return 1
    console.print('all that is needed works')
    return 0


def tried(name: str, work: Callable[[], Line]) -> Line:
    """Return what comes out of some work, or why it failed."""
    try:
        return work()
    except (OSError, ValueError, TypeError, RuntimeError,
            ArithmeticError) as error:
        return Line(name, str(error), 'problem')


def demo(device: str | None) -> Iterator[Line]:
    """Explain a bundled scene with a bundled detector."""
    from ..apis import explain, load_detector

    def work() -> Line:
        start = time.perf_counter()
        model = load_detector(DEMO, device=device)
        loaded = time.perf_counter()
        sample: Any = explain(model, DEMO_IMAGES[0])
        seconds = time.perf_counter() - loaded
        count = len(sample.pred_instances)
        if not count:
            raise RuntimeError('the bundled detector finds nothing: install '
                               'the package again')
        place = next(model.parameters()).device.type
        return Line('explanation', f'{count} objects in {seconds:.1f} s on '
                    f'the {place.upper()}, after {loaded - start:.1f} s to '
                    'load the detector')

    yield tried('explanation', work)


def detector(args: argparse.Namespace) -> Iterator[Line]:
    """Look at a config: its weights, its test set and its head."""
    from ..apis.loading import load_config, overridden
    try:
        cfg, zoo_weights = load_config(args.config)
        if args.cfg_options:
            cfg = overridden(cfg, args.cfg_options)
    except (OSError, ValueError) as error:
        yield Line('config', str(error), 'problem')
        return
    yield Line('config', f'a {cfg.model.get("type", "model")}')
    checkpoint = args.checkpoint or cfg.get('load_from') or zoo_weights
    yield tried('weights', lambda: weights(cfg, checkpoint, args))
    yield test_set(cfg)
    yield gradients(cfg)


def weights(cfg: Config, checkpoint: str | None,
            args: argparse.Namespace) -> Line:
    """Look whether weights are there and fit."""
    from ..apis import class_names, load_detector
    from ..io.checkpoint import is_url, place_in_cache
    if not checkpoint:
        return Line('weights', 'neither given, nor named by the config '
                    '(load_from)', 'problem',
                    'mmdet-diffmap doctor CONFIG CHECKPOINT')
    if is_url(checkpoint) and not place_in_cache(checkpoint).is_file():
        return Line('weights', f'{checkpoint} will be downloaded when they '
                    'are used', 'note')
    model = load_detector(cfg, checkpoint, args.device)
    names = class_names(model)
    return Line('weights', f'{checkpoint} fit; {len(names)} classes: '
                f'{", ".join(names[:3])}{" …" if len(names) > 3 else ""}')


def test_set(cfg: Config) -> Line:
    """Look whether the config's test set is there."""
    if not cfg.get('test_dataloader'):
        return Line('test set', 'the config has none; errors, benchmark and '
                    'test need one', 'note')
    try:
        check_test_data(cfg)
    except FileNotFoundError as error:
        return Line('test set', f'{error}; errors, benchmark and test need it',
                    'note')
    return Line('test set', 'its files are there')


def gradients(cfg: Config) -> Line:
    """Explain what a small copy of the detector with random weights finds, as
    ``check-zoo`` does."""
    import tempfile

    from ..lab.zoo import check_each
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'config.py')
        cfg.dump(path)
        (checked, ) = check_each([path], 1, LIMIT)
    if checked.status == 'works':
        return Line('gradients', f'{checked.strategy}: '
                    f'{COSTS.get(checked.strategy, "")}')
    return Line('gradients', f'{checked.status} {checked.reason}', 'problem',
                'd-rise needs no gradient: --explainer d-rise; '
                'docs/adding-a-detector.md says more')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    console = Console(highlight=False)
    return options.run(lambda: look(args, console), register=False)
