# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explain photographs that are dropped into a page of a browser."""
from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING

from . import options
from .explain_arguments import add_prompt, check_prompt

if TYPE_CHECKING:
    from ..serve.session import Session
    from ..serve.uploads import Limits

DEMO = 'mmdet_diffmap::demo/fcos_scenes.py'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'mmdet-diffmap serve', '[CONFIG [CHECKPOINT]] [options]',
        'Open a page in which photographs are explained: drop one, and click '
        'an object. It is the page of mmdet-diffmap report, at an address of '
        'this machine that has a secret in it. Without a CONFIG: the bundled '
        'detector.', [
            'my_config.py my_weights.pth',
            'rtmdet_tiny_8xb32-300e_coco --explainer odam grad-cam',
        ])
    detector = parser.add_argument_group('detector')
    detector.add_argument(
        'config',
        nargs='?',
        default=DEMO,
        metavar='CONFIG',
        help='the detector: a file, a config of mmdet\'s wheel (mmdet::...), '
        'or a name of its model zoo')
    options.add_checkpoint(detector)
    options.add_detector_options(detector)
    add_prompt(parser.add_argument_group(
        'what is looked for', 'of text-prompted detectors'))
    add_offer(parser.add_argument_group('what the page offers'))
    options.add_selection(parser.add_argument_group('which objects'))
    add_access(parser.add_argument_group('who can use it, and how much'))
    args = parser.read(argv)
    check_prompt(parser, args)
    missing = [name for name in ('starlette', 'uvicorn')
               if find_spec(name) is None]
    if missing:
        parser.error(f'{" and ".join(missing)} cannot be imported: pip '
                     'install \'mmdet_diffmap[serve]\'')
    return args


def add_offer(group: argparse._ArgumentGroup) -> None:
    """Add which methods can be chosen in the page, and how it looks."""
    group.add_argument(
        '--explainer',
        nargs='+',
        metavar='NAME',
        help='methods that can be chosen, the first one first: odam, '
        'grad-cam, d-rise …; names in the `explainers` of the detector\'s '
        'config; or all; default: odam, and then all others')
    options.add_options(
        group, '--explainer-options',
        'options, such as masks=1000, of the explainers that have them; '
        'docs/methods.md lists them')
    group.add_argument(
        '--outputs',
        nargs='+',
        metavar='NAME',
        help='what is explained; docs/contrasts.md lists it')
    group.add_argument(
        '--evidence',
        choices=('for', 'against', 'both'),
        help='show what raises the outputs, what lowers them, or both in a '
        'signed map; default: for')
    group.add_argument(
        '--target-layer',
        metavar='LAYER',
        help='module whose features are explained unless the page asks for '
        'another; default: neck')
    options.add_colours(group)


def add_access(group: argparse._ArgumentGroup) -> None:
    """Add where the page is, and how much it takes."""
    group.add_argument(
        '--host',
        default='127.0.0.1',
        metavar='ADDRESS',
        help='where the page can be reached; default: 127.0.0.1, from this '
        'machine alone')
    group.add_argument(
        '--port',
        type=port,
        default=8765,
        metavar='N',
        help='default: 8765; 0 for any that is free')
    group.add_argument(
        '--max-upload',
        type=amount,
        default=20,
        metavar='MB',
        help='the largest file that is taken; default: 20')
    group.add_argument(
        '--max-megapixels',
        type=amount,
        default=50,
        metavar='N',
        help='the largest photograph that is taken; default: 50')
    group.add_argument(
        '--max-photos',
        type=options.count,
        default=50,
        metavar='N',
        help='keep at most so many photographs; default: 50')
    group.add_argument(
        '--max-seconds',
        type=options.duration,
        default=600,
        metavar='S',
        help='stop an explanation that takes longer; default: 600')


def port(text: str) -> int:
    """Read the number of a port."""
    return options.number(text, int, 'a port, 0 to 65535',
                          lambda value: 0 <= value <= 65535)


def amount(text: str) -> float:
    """Read a number that is larger than zero."""
    return options.number(text, float, 'a number above 0',
                          lambda value: 0 < value < float('inf'))


def serve(args: argparse.Namespace) -> int:
    """Load the detector, and answer until Ctrl-C."""
    from ..serve import server
    from ..serve.app import Service, make_app
    from ..serve.uploads import Limits
    from ..serve.worker import Worker
    from ..visualization import use_colours
    use_colours(args.colours)
    limits = Limits(
        upload=round(args.max_upload * 1e6),
        pixels=round(args.max_megapixels * 1e6),
        photos=args.max_photos,
        seconds=args.max_seconds)
    with server.listen(args.host, args.port) as listening:
        session = make_session(args, limits)
        worker = Worker(limits.places, limits.seconds)
        token = secrets.token_urlsafe()
        app = make_app(Service(session, worker, limits), token, args.host)
        if not server.is_local(args.host):
            print(f'warning: --host {args.host} can be reached from other '
                  'machines. Who knows the address can use the detector and '
                  'see all photographs, and who listens on the network can '
                  'read both', file=sys.stderr)
        print('open this address in a browser (Ctrl-C ends it):')
        print(server.address_of(listening, args.host, token), flush=True)
        try:
            server.Server(app, worker, limits).run([listening])
        except KeyboardInterrupt:  # the way to end it
            pass
        finally:
            worker.close()
    print('ended')
    return 0


def make_session(args: argparse.Namespace, limits: Limits) -> Session:
    """Load the detector, and build the methods that the page offers."""
    from ..apis import load_detector
    from ..explainers.engine import Selection
    from ..explainers.explainer import as_config
    from ..serve.session import Session
    from .explain import build_methods, make_prompt, options_text
    prompt = make_prompt(args)
    start = time.perf_counter()
    detector = load_detector(args.config, args.checkpoint, args.device,
                             args.cfg_options)
    given = args.explainer
    args.pair, args.explainer = None, given or ['all']
    methods = build_methods(args, detector.cfg)
    if given is None:
        methods = {'odam': methods.pop('odam'), **methods}
    name = PurePath(args.config).name  # without the folders of this machine
    settings = {
        'detector': name,
        'weights': PurePath(args.checkpoint).name if args.checkpoint else
                   'those that the config or the model zoo names',
        'cfg-options': str(args.cfg_options or 'none'),
        **({} if prompt is None else {'text': prompt.described()}),
        'objects of an image': 'all' if args.max_objects is None else
                               f'the best {args.max_objects}',
        **{f'method {name}': options_text(as_config(method))
           for name, method in methods.items()}
    }
    session = Session(
        detector, methods, Selection(args.score_thr, args.max_objects),
        f'Why this object? {PurePath(name).stem}', settings, limits.photos,
        prompt)
    print(f'{name}: loaded in {time.perf_counter() - start:.1f} s')
    return session


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: serve(args))
