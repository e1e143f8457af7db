# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Draw the time of explanations against the number of objects, from files of
benchmark_speed.py."""
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from . import options


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/plot_speed.py', 'NAME=JSON ... [options]',
        'Draw the time of explanations against the number of objects.', [
            'FCOS=fcos.json YOLOX=yolox.json --picture speed.png',
        ], {'--out': '--picture'})
    parser.add_argument_group('inputs').add_argument(
        'files',
        nargs='+',
        metavar='NAME=JSON',
        help='a name for the legend, and a file of benchmark_speed.py --json')
    parser.add_argument_group('output').add_argument(
        '--picture', default='speed.png', metavar='FILE',
        help='default: speed.png')
    args = parser.read(argv)
    if not all('=' in file for file in args.files):
        parser.error('files are given as NAME=JSON')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: plot(args))


def plot(args: argparse.Namespace) -> int:
    """Draw both panels."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for file in args.files:
        name, _, path = file.partition('=')
        try:
            record = json.loads(Path(path).read_text())
            speeds = [speed for method in record['explainers'].values()
                      for speed in method]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f'{path} is no file of benchmark_speed.py: '
                             f'{error}') from error
        objects = [speed['objects'] for speed in speeds]
        line, = left.plot(objects, [speed['explain'] for speed in speeds],
                          marker='o', markersize=3, label=name)
        left.plot(objects, [speed['naive'] or float('nan')
                            for speed in speeds], ':',
                  color=line.get_color())
        right.plot(objects, [speed['against_forward'] for speed in speeds],
                   marker='o', markersize=3, label=name)
    for axes in (left, right):
        axes.set(xlabel='objects', xscale='log', yscale='log')
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100])
        axes.xaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_major_formatter('{x:g}')
        axes.grid(alpha=0.3)
    left.set_ylabel('seconds (dotted: naive loop)')
    right.set_ylabel('share of the forward pass')
    right.axhline(1, color='grey', linewidth=0.8)
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(args.picture, dpi=110)
    return 0

