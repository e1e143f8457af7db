# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Make the pictures of these pages again, from the bundled scenes.

    python docs/make_pictures.py [NAME ...]
    python docs/make_pictures.py --two-clicks CONFIG WEIGHTS PHOTO ...

NAME is that of a file in docs/images, without its ending; by default all that
are listed in ``PICTURES``. Those of pages need Playwright and Chromium.
``--two-clicks`` makes the moving picture of the README, with your detector:
the first photograph's object 1 is clicked, and then its object 0.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image, ImageDraw

from mmdet_diffmap.__main__ import main as command
from mmdet_diffmap.apis import class_names, compare_files, load_detector
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.datasets.twins import render_twins
from mmdet_diffmap.errors import explain_errors
from mmdet_diffmap.lab.evidence import occlude
from mmdet_diffmap.lab.planted_errors import instances_of, swap_badges
from mmdet_diffmap.lab.zoo.prompted import write_prompted_detector
from mmdet_diffmap.visualization import draw_errors
from mmdet_diffmap.visualization.figure import GAP, PANEL, TITLE

IMAGES = Path(__file__).resolve().parent / 'images'
DEMO = 'mmdet_diffmap::demo/'
FOUR = [f'{DEMO}{name}_scenes.py'
        for name in ('fcos', 'faster-rcnn', 'detr', 'retinanet-pvt')]


def explained(*arguments: str, picture: str) -> Callable[[Path], Image.Image]:
    """Return what runs ``explain`` and opens one of its pictures."""

    def make(folder: Path) -> Image.Image:
        run('explain', *arguments, '--out-dir', str(folder))
        return Image.open(folder / picture)

    return make


def asked(folder: Path) -> Image.Image:
    """Explain a scene by a text-prompted detector with random weights."""
    write_prompted_detector(folder)
    run('explain', 'scene://0/2', str(folder / 'config.py'), '--weights',
        str(folder / 'weights.pth'), '--texts', 'a red car . a dog',
        '--custom-entities', '--score-thr', '0', '--max-objects', '2',
        '--outputs', 'score', '--out-dir', str(folder))
    return Image.open(folder / 'vis/2.png')


def compared(detector: str, index: int,
             explainers: dict[str, Any]) -> Callable[[Path], Image.Image]:
    """Return what compares methods on an object of a scene."""

    def make(folder: Path) -> Image.Image:
        model = load_detector(DEMO + detector)
        compare_files({Path(detector).stem: model}, ['scene://0/2'], index,
                      folder, explainers)
        return Image.open(folder / 'compare/2.png')

    return make


def run(*arguments: str) -> None:
    """Run a command of the package; it must end well."""
    status = command(list(arguments))
    if status:
        raise RuntimeError(f'{" ".join(arguments)} ended with {status}')


@contextmanager
def opened(address: str, size: tuple[int, int]) -> Iterator[Any]:
    """Give a page, in a browser window of a size."""
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        page = browser.new_page(
            viewport=dict(width=size[0], height=size[1]), color_scheme='light')
        page.goto(address)
        page.wait_for_selector('[aria-busy=false]', state='attached')
        yield page
        browser.close()


def shot(path: Path, address: str, size: tuple[int, int],
         selector: str = 'body') -> Image.Image:
    """Return a picture of a page, or of a part of it."""
    with opened(f'{path.as_uri()}#{address}', size) as page:
        target = path.with_suffix('.png')
        page.locator(selector).first.screenshot(path=target)
    return Image.open(target)


def report(folder: Path) -> Image.Image:
    """Show the difference map of two objects, by two detectors."""
    run('report', *(f'scene://0/{number}' for number in (2, 17, 35)),
        *FOUR[:2], '--explainer', 'odam', 'ss-grad-cam', '--out-dir',
        str(folder))
    chosen = dict(mode='signed', object=0, against=2)
    return shot(folder / 'report.html', urlencode({
        'photo': 0, 'panels': 2, 'detector': 'fcos_scenes', **chosen,
        '2.detector': 'faster-rcnn_scenes',
        **{f'2.{name}': value for name, value in chosen.items()}}),
        (1240, 700))


def serve(folder: Path) -> Image.Image:
    """Show the page over a running detector, while it explains a scene."""
    files = [folder / f'scene-{number}.png' for number in (17, 2, 35, 13)]
    for number, path in zip((17, 2, 35, 13), files):
        scene = Image.fromarray(render_scene(0, number).image[..., ::-1])
        scene.resize((384, 384)).save(path)
    done = '#jobs[aria-busy=false]'
    with subprocess.Popen(
            [sys.executable, '-m', 'mmdet_diffmap', 'serve', '--port', '0',
             '--explainer-options', 'masks=2500'],
            stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        *_, address = (server.stdout.readline().strip() for _ in range(3))
        with opened(address, (1240, 690)) as page:
            page.set_input_files('#files', files[:3])
            page.wait_for_selector(done, state='attached')
            page.select_option('#ask-method', 'grad-cam')
            page.click('#again')
            page.wait_for_selector(done, state='attached')
            page.keyboard.press('j')
            page.select_option('#ask-method', 'd-rise')
            page.set_input_files('#files', files[3])
            page.wait_for_timeout(9000)
            page.screenshot(path=folder / 'serve.png')
        server.terminate()
    return Image.open(folder / 'serve.png')


def pair(folder: Path) -> Image.Image:
    """Show the difference map of one car against another."""
    run('report', 'scene://0/17', FOUR[0], '--out-dir', str(folder))
    return shot(folder / 'report.html',
                'photo=0&object=1&against=0&mode=signed', (1000, 620))


def errors_report(folder: Path) -> Image.Image:
    """Show the page of errors, of twins whose badges are swapped in the
    annotations."""
    names = class_names(load_detector(f'{DEMO}fcos_twins.py'))
    images, annotations = [], []
    (folder / 'images').mkdir()
    for index in 1, 3, 5, 7, 9, 11:
        scene = render_twins(0, index)
        name = f'twins {index}.png'
        Image.fromarray(scene.image[..., ::-1]).save(folder / 'images' / name)
        height, width = scene.image.shape[:2]
        images.append(dict(id=index, file_name=name, width=width,
                           height=height))
        for twin in swap_badges(instances_of(scene)):
            x1, y1, x2, y2 = twin['bbox']
            annotations.append(dict(
                id=len(annotations) + 1, image_id=index,
                category_id=twin['bbox_label'], iscrowd=0,
                bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1)))
    (folder / 'swapped.json').write_text(json.dumps(dict(
        images=images, annotations=annotations,
        categories=[dict(id=label, name=name)
                    for label, name in enumerate(names)])))
    os.chdir(folder)  # the page names files as they were given
    run('errors', f'{DEMO}fcos_twins.py', '--annotations', 'swapped.json',
        '--images', 'images', '--work-dir', '.')
    os.chdir(IMAGES)
    return shot(folder / 'report.html', 'error=6', (1240, 760))


def errors(folder: Path) -> Image.Image:
    """Show a twin that has another class because of its badge, and a flower
    that is missed behind a patch."""
    scene = render_twins(0, 7)
    wrong = explain_errors(
        load_detector(f'{DEMO}fcos_twins.py'), scene.image,
        swap_badges(instances_of(scene)), 'odam')
    hidden = render_scene(0, 5)
    occluded, _ = occlude(hidden, (0, 5))
    missed = explain_errors(
        load_detector(f'{DEMO}faster-rcnn_scenes.py'), occluded,
        instances_of(hidden))
    return stacked(*(
        Image.fromarray(draw_errors(image[..., ::-1].copy(), [error.row()]))
        for image, error in ((scene.image, wrong[0]), (occluded, missed[0]))))


def methods(folder: Path) -> Image.Image:
    """Show one object by all methods, in two halves beside each other, without
    the positive part of difference maps."""
    run('explain', 'scene://0/2', FOUR[0], '--explainer', 'all', '--object',
        '1', '--out-dir', str(folder))
    picture = np.asarray(Image.open(folder / 'compare/2.png'))
    row = PANEL + TITLE + GAP
    count = len(picture) // row
    header, rows = np.split(picture[:, :GAP + 2 * (PANEL + GAP)],
                            [len(picture) - count * row])
    halves = rows[:(count + 1) // 2 * row], rows[(count + 1) // 2 * row:]
    both = [np.concatenate([header, half]) for half in halves]
    if count % 2:
        both[1] = np.pad(both[1], ((0, row), (0, 0), (0, 0)),
                         constant_values=255)
    return Image.fromarray(np.concatenate(both, axis=1))


def two_clicks(config: str, weights: str, *photos: str) -> None:
    """Make the moving picture of two clicks in a report."""
    arrow = Image.new('RGBA', (20, 30))
    shape = [(1, 1), (1, 23), (6, 18), (10, 27), (14, 25), (10, 17), (17, 17)]
    ImageDraw.Draw(arrow).polygon(shape, 'white', 'black', 2)
    frames: list[Image.Image] = []
    with tempfile.TemporaryDirectory() as folder:
        run('report', *photos, config, '--weights', weights, '--explainer',
            'odam', 'ss-grad-cam++', '--no-pictures', '--out-dir', folder)
        page_file = Path(folder, 'report.html').as_uri()

        def film(page: Any, place: tuple[float, float]) -> None:
            page.mouse.move(*place)
            page.wait_for_selector('[aria-busy=false]', state='attached')
            page.wait_for_timeout(200)
            frame = Image.open(BytesIO(page.screenshot())).convert('RGB')
            frame.paste(arrow, tuple(map(int, place)), arrow)
            frames.append(frame)

        with opened(f'{page_file}#photo=0', (1240, 700)) as page:
            first, second = (
                page.locator(f'.boxes [data-object="{number}"]').first
                .bounding_box() for number in (1, 0))
            inside = (first['x'] + first['width'] / 2,
                      first['y'] + first['height'] / 2)
            beside = (second['x'] + 0.2 * second['width'],
                      second['y'] + 0.3 * second['height'])
            film(page, (inside[0], 670))
            for place in inside, beside:
                film(page, place)
                page.mouse.click(*place)
                film(page, place)
    frames[0].save(
        IMAGES / 'two-clicks.webp', save_all=True, append_images=frames[1:],
        duration=[1200, 1000, 2500, 1200, 4000], loop=0, quality=80, method=6)


def stacked(*pictures: Image.Image) -> Image.Image:
    """Put pictures below each other."""
    width = max(picture.width for picture in pictures)
    rows = [np.asarray(picture.convert('RGB')) for picture in pictures]
    return Image.fromarray(np.concatenate([
        np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)),
               constant_values=255) for row in rows]))


PICTURES: dict[str, Callable[[Path], Image.Image]] = {
    'scene': explained('scene://0/17', FOUR[0], '--max-objects', '4',
                       picture='vis/17.png'),
    'tour': explained('scene://0/2', FOUR[0], '--max-objects', '3',
                      picture='vis/2.png'),
    'joined': explained('twins://0/2', f'{DEMO}faster-rcnn_twins.py',
                        picture='vis/2.png'),
    'contrast': explained('twins://0/2', f'{DEMO}fcos_twins.py',
                          '--contrast', picture='vis/2.png'),
    'words': asked,
    'separation': explained('pairs://0/6', f'{DEMO}fcos_pairs.py', '--pair',
                            '0', '1', picture='pair/6.png'),
    'detectors': explained('scene://0/2', *FOUR, '--object', '0',
                           picture='compare/2.png'),
    'outputs': compared('fcos_scenes.py', 0, {
        **{name: dict(type='ODAM', outputs=name)
           for name in ('score', 'x1', 'x2')}, 'all five': 'odam'}),
    'layers': compared('fcos_scenes.py', 1, {
        layer: dict(type='ODAM', target_layer=layer)
        for layer in ('neck', 'neck[1]', 'backbone', 'backbone.layer4',
                      'backbone.layer2')}),
    'encoder': compared('detr_scenes.py', 0, {
        layer: dict(type='ODAM', target_layer=layer)
        for layer in ('neck', 'encoder')}),
    'methods': methods,
    'errors': errors,
    'report': report,
    'serve': serve,
    'pair': pair,
    'errors-report': errors_report,
}


def main(names: list[str]) -> None:
    """Make the pictures of these names."""
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            picture = PICTURES[name](Path(folder)).convert('RGB')
            picture.save(IMAGES / f'{name}.jpg', quality=85, optimize=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--two-clicks']:
        two_clicks(*sys.argv[2:])
    else:
        main(sys.argv[1:])
