# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that the detectors of a model zoo are explained: mmdet's, or that of
another package whose wheel carries its configs.

One config of each folder is built with random weights, three objects that it
finds are explained, and the gradients are compared with those of the whole
prediction. Nothing is downloaded.
"""
from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .. import host
from . import options

if TYPE_CHECKING:
    from ..lab.zoo import Checked

#: Packages that decide what can be built.
PACKAGES = ('mmyolo', 'torch', 'torchvision', 'mmpretrain', 'timm')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'mmdet-diffmap check-zoo', '[CONFIG ...] [options]',
        'Build detectors of a model zoo (mmdet\'s) with random weights, '
        'explain three objects of each, and compare the gradients with those '
        'of the whole prediction. Without arguments: one config of every '
        'folder.', [
            'my_config.py',
            'fcos yolox --jobs 2',
            '--package mmyolo --page docs/zoo.md',
            '--resume',
        ], {'--out-dir': '--work-dir'})
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument(
        'configs', nargs='*', metavar='CONFIG',
        help='config files, or folders of the package\'s configs by their '
        'name; default: one config of every folder')
    inputs.add_argument(
        '--package', default='mmdet', metavar='NAME',
        help='the package whose configs are checked: mmdet, mmyolo, or '
        'another one whose wheel carries its configs; default: mmdet')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--work-dir', default='work_dirs/check_zoo', metavar='FOLDER',
        help='gets results.json and tables.md; default: work_dirs/check_zoo')
    options.add_page(output, 'docs/zoo.md')
    run = parser.add_argument_group('the run')
    run.add_argument(
        '--resume', action='store_true',
        help='go on with what is in the work dir')
    run.add_argument(
        '--jobs', type=options.count, default=1, metavar='N',
        help='configs checked at a time; default: 1')
    run.add_argument(
        '--time-limit', type=options.duration, default=600.,
        metavar='SECONDS', help='for each config; default: 600')
    return parser.read(argv)


def chosen_configs(names: list[str], package: str) -> list[Path]:
    """List the configs by path or by folder of a package.

    Raises:
        ValueError: If there is no such config.
    """
    from ..lab.zoo import zoo_configs, zoo_of
    excluded = zoo_of(package).excluded
    folders = zoo_configs(package)
    configs = []
    for name in names or list(folders):
        if name in excluded:
            raise ValueError(f'{name} is left out: it {excluded[name]}')
        if name in folders:
            configs.append(folders[name])
        elif Path(name).is_file():
            configs.append(Path(name).resolve())
        else:
            raise ValueError(f'{name} is no config file, and no folder of '
                             f'{package}\'s configs')
    return configs


def packages() -> dict[str, str]:
    """Return the versions of what decides what can be built."""
    versions = {name: number for module in host.MODULES for name, number
                in host.installed_distributions(module).items()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = ''
    return versions


class Results:
    """What is known of each config, on disk as soon as it is known.

    Args:
        folder (Path): Of the file.
        resume (bool): Whether the file may be there.

    Raises:
        ValueError: If it may not, or was made with other packages.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        from ..lab.zoo import Checked
        self.file = folder / 'results.json'
        self.packages = packages()
        self.configs: dict[str, Checked] = {}
        if not self.file.exists():
            return
        if not resume:
            raise ValueError(f'{folder} holds an earlier run: go on with it '
                             '(--resume), or give another work dir')
        try:
            record = json.loads(self.file.read_text())
            self.configs = {entry['config']: Checked(**entry)
                            for entry in record['configs']}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{self.file} cannot be read: {error}') from error
        if record['packages'] != self.packages:
            raise ValueError(f'{self.file} was made with other versions of '
                             f'{", ".join(self.packages)}: give another work '
                             'dir')

    def add(self, checked: Checked) -> None:
        """Keep what is known of a config."""
        from ..io.files import replacing
        self.configs[checked.config] = checked
        record = dict(
            packages=self.packages,
            configs=[asdict(entry) for entry in self.configs.values()])
        with replacing(self.file) as file:
            file.write(json.dumps(record, indent=1).encode())


def tables(results: list[Checked], package: str) -> dict[str, str]:
    """Make the tables of a page, in Markdown, and the sentence that counts,
    by their names: those of mmdet are ``count``, ``families`` and
    ``excluded``; others begin with the package's name."""
    from ..io.markdown import markdown
    from ..lab.zoo import zoo_of
    from ..ops import install_standins
    works = [checked for checked in results if checked.status == 'works']
    compiled = 'without a compiled mmcv' if install_standins() else \
        'with a compiled mmcv'
    names = ', '.join(f'{name} {number}' for name, number in
                      packages().items() if number)
    count = (f'**{len(works)} of {len(results)}** families work {compiled} '
             f'({names}).')
    head = ['family', 'config', 'status', 'gradients', 'seconds',
            'difference', 'mask', 'remarks']
    texts = dict(
        count=count,
        families=markdown(head, [row(checked) for checked in results]),
        excluded=markdown(['folder', 'why it is left out'],
                          [[name, reason] for name, reason in
                           zoo_of(package).excluded.items()]))
    prefix = '' if package == 'mmdet' else f'{package} '
    return {f'{prefix}{name}': f'{text}\n' for name, text in texts.items()}


def row(checked: Checked) -> list[str]:
    """Make a row of the table of families."""
    from ..lab.zoo import SIZES, family_of
    from ..tracing.trace import OUTPUTS
    path = Path(checked.config)
    remarks = [checked.reason] if checked.reason else []
    lost = [output for output in OUTPUTS if output not in checked.outputs]
    if checked.outputs and lost:
        remarks.append(f'no gradient of {", ".join(lost)}')
    if checked.no_mask:
        remarks.append(checked.no_mask)
    if checked.size:
        height, width = checked.size
        if (height, width) != SIZES[0]:
            remarks.append(f'image of {width} × {height}')
    if checked.status == 'works' and not checked.double:
        remarks.append('compared in single precision')
    return [
        family_of(path), path.stem, checked.status, checked.strategy,
        figure(checked.seconds, '.2f'), figure(checked.difference, '.0e'),
        figure(checked.mask, '.0e'), '; '.join(remarks).replace('|', '\\|')
    ]


def figure(value: float, form: str) -> str:
    """Write a number, or nothing where there is none."""
    return '' if math.isnan(value) else f'{value:{form}}' if value else '0'


def check(args: argparse.Namespace) -> int:
    """Check all configs, and say how many are explained."""
    from ..io.files import replacing
    from ..io.markdown import with_tables
    from ..io.progress import progress_bar
    from ..lab.zoo import check_each, family_of
    configs = chosen_configs(args.configs, args.package)
    page = Path(args.page).read_text() if args.page else ''
    if page:  # raises before the work
        with_tables(page, tables([], args.package))
    folder = Path(args.work_dir)
    results = Results(folder, args.resume)
    todo = [config for config in configs
            if str(config) not in results.configs]
    with progress_bar('configs', len(configs),
                      len(configs) - len(todo)) as advance:
        for number, checked in enumerate(
                check_each(todo, args.jobs, args.time_limit), start=1):
            results.add(checked)
            print(f'[{number}/{len(todo)}] {family_of(Path(checked.config))}: '
                  f'{" ".join(filter(None, row(checked)[2:]))}', flush=True)
            advance(1)
    entries = [results.configs[str(config)] for config in configs]
    texts = tables(entries, args.package)
    with replacing(folder / 'tables.md') as file:
        file.write('\n'.join(texts.values()).encode())
    if page:
        with replacing(Path(args.page)) as file:
            file.write(with_tables(page, texts).encode())
    print(next(iter(texts.values())).replace('**', ''), end='')
    return 0 if all(checked.status != 'fails' for checked in entries) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args), resume=True)

