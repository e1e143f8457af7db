# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explain every object that a detector finds in images and videos.

Without arguments it explains a few bundled scenes with the bundled detector.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options, results
from .explain_arguments import parse_args

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

    from ..apis.prompt import Prompt
    from ..explainers import Explainer
    from ..explainers.engine import Selection
    from ..report import Report


def detector_names(models: list[str]) -> list[str]:
    """Return names for results; those of the zoo may have dots."""
    from ..apis.each_image import result_names
    return result_names(
        [name if name.endswith('.py') else f'{name}.py' for name in models])


def load_detectors(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Load the detectors, by their names."""
    from ..apis import load_detector
    all_weights = args.weights or [None] * len(args.models)
    return {
        name: load_detector(model, weights, args.device, args.cfg_options)
        for name, model, weights in zip(
            detector_names(args.models), args.models, all_weights)
    }


def build_methods(args: argparse.Namespace,
                  config: Config) -> dict[str, Explainer]:
    """Build the methods, by their names."""
    from ..apis.each_image import check_folder_names
    from ..apis.explain_pair import SEPARATION
    from ..explainers import build_explainer, build_explainers
    from ..explainers.explainer import explainer_config, registered_explainers
    configs = options.explainer_configs(config)
    method_options = dict(args.explainer_options)
    for option in 'target_layer', 'outputs', 'evidence':
        if getattr(args, option):
            method_options[option] = getattr(args, option)
    if args.pair and not args.explainer:
        return {'odam': build_explainer(SEPARATION, **method_options)}
    names: list[str] = list(args.explainer or ['odam'])
    if 'all' in names:
        types = {name: explainer_config(config)['type']
                 for name, config in configs.items()}
        every = [name for name in configs if types[name] != 'DifferenceMap']
        every += [name for name in registered_explainers()
                  if explainer_config(name)['type'] not in types.values()]
        names = every + [name for name in names
                         if name != 'all' and name not in every]
    check_folder_names(names)
    return build_explainers({name: configs.get(name, name) for name in names},
                            **method_options)


def describe(args: argparse.Namespace, number: int,
             methods: dict[str, Explainer]) -> dict[str, str]:
    """Say what makes the maps of one detector."""
    from ..explainers.explainer import as_config
    prompt = make_prompt(args)
    return {
        'detector': args.models[number],
        'weights': args.weights[number] if args.weights else
                   'those that the config or the model zoo names',
        'cfg-options': str(args.cfg_options or 'none'),
        **({} if prompt is None else {'text': prompt.described()}),
        'score threshold': str(args.score_thr),
        'objects of an image': 'all' if args.max_objects is None else
                               f'the best {args.max_objects}',
        **{f'method {name}': options_text(as_config(method))
           for name, method in methods.items()}
    }


def make_prompt(args: argparse.Namespace) -> Prompt | None:
    """Return what the detectors are to look for."""
    from ..apis.prompt import Prompt, read_tokens_positive
    if args.texts is None:
        return None
    return Prompt(
        args.texts, args.custom_entities, None
        if args.tokens_positive is None else
        read_tokens_positive(args.tokens_positive))


def make_selection(args: argparse.Namespace) -> Selection:
    """Return which detections are explained."""
    from ..explainers.engine import PhraseSelection, Selection
    if args.phrases is None:
        return Selection(args.score_thr, args.max_objects)
    return PhraseSelection(args.score_thr, args.max_objects, args.phrases_of,
                           tuple(args.phrases))


def make_report(args: argparse.Namespace,
                methods: dict[str, Explainer]) -> Report:
    """Make the page about all detectors, without images."""
    from ..report import Report
    titles = detector_names(args.models)
    settings = describe(args, 0, methods)
    if len(titles) > 1:
        own = [name for name in settings if name in ('detector', 'weights')]
        settings = {
            **{f'{name} of {title}': describe(args, number, methods)[name]
               for number, title in enumerate(titles) for name in own},
            **{name: text for name, text in settings.items()
               if name not in own}}
    return Report(f'Why this object? {" and ".join(titles)}', (), settings)


def options_text(config: dict[str, Any]) -> str:
    """Write a method and its options as in Python."""
    inner = ', '.join(
        f'{name}={options_text(value) if isinstance(value, dict) else value!r}'
        for name, value in config.items() if name != 'type')
    return f'{config["type"]}({inner})'


def explain_videos(args: argparse.Namespace, videos: list[str],
                   detector: nn.Module, method: Explainer,
                   folder: Path) -> dict[str, str]:
    """Write a video of explanations for each video; return those that failed,
    with the reason."""
    from ..apis import explain_video
    from ..apis.each_image import result_names
    failures = {}
    for path, name in zip(videos, result_names(videos)):
        out = folder / f'vis/{name}.mp4'
        try:
            frames = explain_video(
                detector, path, out, method, args.score_thr,
                args.max_objects, args.object, args.map, args.every,
                prompt=make_prompt(args))
        except (OSError, ValueError, ArithmeticError, RuntimeError,
                MemoryError) as error:
            failures[path] = str(error)
        else:
            print(f'{path}: {frames} frames, {out}')
    return failures


def explain_images(args: argparse.Namespace, images: list[str], number: int,
                   detector: nn.Module, methods: dict[str, Explainer],
                   selection: Selection, folder: Path,
                   report: Report | None) -> dict[str, str]:
    """Write the results of one detector; return the images that failed, with
    the reason."""
    from ..apis import ReportWriter, explain_files
    several = len(args.models) > 1
    title = detector_names(args.models)[number]
    dataset = f'{args.fiftyone}-{title}' if several else args.fiftyone
    writers = results.result_writers(args, dataset,
                                     describe(args, number, methods))
    if report is not None:
        writers.append(ReportWriter(report, title * several,
                                    Path(args.out_dir, 'report.html')))
    return explain_files(detector, images, folder, methods, selection,
                         args.save_maps, writers=writers,
                         prompt=make_prompt(args))


def explain(args: argparse.Namespace) -> int:
    """Explain all images and videos, and say what became of them."""
    from ..apis import compare_files, find_images, is_video, pair_files
    from ..visualization import use_colours
    use_colours(args.colours)
    paths = find_images(args.inputs)
    videos = [path for path in paths if is_video(path)]
    images = [path for path in paths if not is_video(path)]
    if videos:
        results.check_video(args, videos[0])
    if videos and args.evidence == 'both':
        raise ValueError(f'signed maps are for images: explain {videos[0]} '
                         'with --evidence for or against')
    if videos and args.phrases is not None:
        raise ValueError(f'--phrases is for images: explain {videos[0]} '
                         'without it')
    prompt = make_prompt(args)  # before detectors are loaded
    detectors = load_detectors(args)
    methods = build_methods(args, next(iter(detectors.values())).cfg)
    selection = make_selection(args)
    failures: dict[str, str] = {}
    if args.pair:
        if videos or len(detectors) > 1:
            raise ValueError('--pair is for images and one MODEL')
        (detector, ), (method, ) = detectors.values(), methods.values()
        first, second = args.pair
        failures = pair_files(detector, images, first, second, args.out_dir,
                              method, selection, results.figure_style(args),
                              prompt)
    if images and args.object is not None:
        failures = compare_files(detectors, images, args.object, args.out_dir,
                                 methods, selection,
                                 results.figure_style(args), prompt)
    report = make_report(args, methods) if args.report else None
    for number, (title, detector) in enumerate(detectors.items()):
        folder = Path(args.out_dir, title * (len(detectors) > 1))
        if images and args.object is None and not args.pair:
            failures |= explain_images(args, images, number, detector, methods,
                                       selection, folder, report)
        for name, method in methods.items():
            failures |= explain_videos(args, videos, detector, method,
                                       folder / (name * (len(methods) > 1)))
    if report is not None:
        print(f'report: {Path(args.out_dir, "report.html").resolve()}')
    done = len(paths) - len(failures)
    counted = ' and '.join(
        f'{len(some)} {kind}{"s" * (len(some) != 1)}'
        for some, kind in ((images, 'image'), (videos, 'video')) if some)
    print(f'{done} of {counted} explained' +
          (f', results in {Path(args.out_dir).resolve()}' if done else ''))
    for path, reason in failures.items():
        print(f'failed: {path}: {reason}', file=sys.stderr)
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: explain(args))
