# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that the detectors of mmdet's model zoo are explained.

One config of each folder is built with random weights, three objects that it
finds are explained, and the gradients are compared with those of the whole
prediction. Nothing is downloaded.
"""
import argparse
import json
import math
import sys
import warnings
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# remarks of the host's packages about each other; ours are errors or logged
warnings.simplefilter('ignore')

import mmdet_diffmap  # noqa: F401, makes mmdet importable
from mmdet_diffmap.cli import options as command_line
from mmdet_diffmap.io.files import replacing
from mmdet_diffmap.io.markdown import markdown, with_tables
from mmdet_diffmap.lab.zoo import (
    EXCLUDED,
    SIZES,
    Checked,
    check_each,
    family_of,
    zoo_configs,
)
from mmdet_diffmap.ops import install_standins
from mmdet_diffmap.tracing.trace import OUTPUTS

#: Packages that decide what can be built.
PACKAGES = ('mmdet', 'mmengine', 'torch', 'torchvision', 'mmpretrain', 'timm')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Build detectors of mmdet\'s model zoo with random '
        'weights, explain three objects of each, and compare the gradients '
        'with those of the whole prediction.')
    parser.add_argument(
        'configs', nargs='*', metavar='CONFIG',
        help='config files, or folders of mmdet\'s configs by their name; '
        'default: one config of every folder')
    parser.add_argument(
        '--work-dir', default='work_dirs/check_zoo',
        help='gets results.json and tables.md; default: work_dirs/check_zoo')
    parser.add_argument(
        '--resume', action='store_true',
        help='go on with what is in the work dir')
    parser.add_argument(
        '--jobs', type=int, default=1,
        help='configs checked at a time; default: 1')
    parser.add_argument(
        '--time-limit', type=float, default=600, metavar='SECONDS',
        help='for each config; default: 600')
    parser.add_argument(
        '--update', metavar='PAGE',
        help='also replace the tables in a page, such as docs/zoo.md')
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error('--jobs must be 1 or more')
    if not args.time_limit > 0:
        parser.error('--time-limit must be more than 0')
    return args


def chosen_configs(names: list[str]) -> list[Path]:
    """The configs by path or by folder.

    Raises:
        ValueError: If there is no such config.
    """
    known = zoo_configs()
    found = []
    for name in names or list(known):
        if name in EXCLUDED:
            raise ValueError(f'{name} is left out: it {EXCLUDED[name]}')
        if name in known:
            found.append(known[name])
        elif Path(name).is_file():
            found.append(Path(name).resolve())
        else:
            raise ValueError(f'{name} is no config file, and no folder of '
                             'mmdet\'s configs')
    return found


def packages() -> dict[str, str]:
    """The versions of what decides what can be built."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ''
    return found


class Results:
    """What is known of each config, on disk as soon as it is known.

    Args:
        folder (Path): Of the file.
        resume (bool): Whether the file may be there.

    Raises:
        ValueError: If it may not, or was made with other packages.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self.file = folder / 'results.json'
        self.packages = packages()
        self.found: dict[str, Checked] = {}
        if not self.file.exists():
            return
        if not resume:
            raise ValueError(f'{folder} holds an earlier run: go on with it '
                             '(--resume), or give another work dir')
        try:
            record = json.loads(self.file.read_text())
            self.found = {one['config']: Checked(**one)
                          for one in record['configs']}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{self.file} cannot be read: {error}') from error
        if record['packages'] != self.packages:
            raise ValueError(f'{self.file} was made with other versions of '
                             f'{", ".join(PACKAGES)}: give another work dir')

    def add(self, checked: Checked) -> None:
        self.found[checked.config] = checked
        record = dict(
            packages=self.packages,
            configs=[asdict(one) for one in self.found.values()])
        with replacing(self.file) as file:
            file.write(json.dumps(record, indent=1).encode())


def tables(found: list[Checked]) -> dict[str, str]:
    """The tables of a page, in Markdown, and the sentence that counts."""
    works = [one for one in found if one.status == 'works']
    compiled = 'without a compiled mmcv' if install_standins() else \
        'with a compiled mmcv'
    names = ', '.join(f'{name} {number}' for name, number in
                      packages().items() if number)
    count = (f'**{len(works)} of {len(found)}** families work {compiled} '
             f'({names}).')
    head = ['family', 'config', 'status', 'gradients', 'seconds',
            'difference', 'remarks']
    return dict(
        count=f'{count}\n',
        families=markdown(head, [row(one) for one in found]) + '\n',
        excluded=markdown(['folder', 'why it is left out'],
                          [[name, reason] for name, reason in
                           EXCLUDED.items()]) + '\n')


def row(checked: Checked) -> list[str]:
    """A row of the table of families."""
    path = Path(checked.config)
    remarks = [checked.reason] if checked.reason else []
    lost = [one for one in OUTPUTS if one not in checked.outputs]
    if checked.outputs and lost:
        remarks.append(f'no gradient of {", ".join(lost)}')
    if checked.size:
        height, width = checked.size
        if (height, width) != SIZES[0]:
            remarks.append(f'image of {width} × {height}')
    if checked.status == 'works' and not checked.double:
        remarks.append('compared in single precision')
    return [
        family_of(path), path.stem, checked.status, checked.strategy,
        figure(checked.seconds, '.2f'), figure(checked.difference, '.0e'),
        '; '.join(remarks).replace('|', '\\|')
    ]


def figure(value: float, form: str) -> str:
    return '' if math.isnan(value) else f'{value:{form}}' if value else '0'


def check(args: argparse.Namespace) -> int:
    configs = chosen_configs(args.configs)
    page = Path(args.update).read_text() if args.update else ''
    if page:  # raises before the work
        with_tables(page, tables([]))
    folder = Path(args.work_dir)
    results = Results(folder, args.resume)
    todo = [one for one in configs if str(one) not in results.found]
    for number, checked in enumerate(
            check_each(todo, args.jobs, args.time_limit), start=1):
        results.add(checked)
        print(f'[{number}/{len(todo)}] {family_of(Path(checked.config))}: '
              f'{" ".join(filter(None, row(checked)[2:]))}', flush=True)
    found = [results.found[str(one)] for one in configs]
    texts = tables(found)
    with replacing(folder / 'tables.md') as file:
        file.write('\n'.join(texts.values()).encode())
    if page:
        with replacing(Path(args.update)) as file:
            file.write(with_tables(page, texts).encode())
    print(texts['count'].replace('**', ''), end='')
    return 0 if all(one.status != 'fails' for one in found) else 1


def main() -> int:
    args = parse_args()
    return command_line.run(lambda: check(args))


if __name__ == '__main__':
    sys.exit(main())
