"""What tests of pages share: a browser, and pages that are open in it."""
from dataclasses import replace

import cv2
import numpy as np
import pytest
from demo import CONFIG, WEIGHTS, demo_detector
from error_page import DETECTORS, LAYERS, entries, for_detectors, photo, traced
from report_page import BOTH, CLASSES, HOSTILE, METHODS, opened

from mmdet_diffmap import load_detector
from mmdet_diffmap.apis import class_names, explain_files
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.report import ErrorReport, Report

#: The scenes of photographs, by their names; one shows nothing.
PHOTOGRAPHS = {'b-10.png': 3, 'Aa.png': 4, 'nothing.png': None, 'b-9.png': 2,
               '<b>é.png': 9}


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    # resized by the test pipeline, and padded
    scene = cv2.resize(render_scene(0, 2).image, (230, 150))
    cv2.imwrite(str(folder / HOSTILE), scene)
    cv2.imwrite(str(folder / 'empty.png'), np.full((50, 80, 3), 128, np.uint8))
    cv2.imwrite(str(folder / 'large.png'),
                cv2.resize(render_scene(0, 3).image, (2000, 1000)))
    report = Report('<i>title</i>', CLASSES, {'<u>setting</u>': '<u>1</u>'})
    paths = [str(folder / name) for name in (HOSTILE, 'empty.png', 'large.png',
                                             'missing.png')]
    failures = explain_files(demo_detector(), paths, folder, METHODS,
                             report=report)
    assert list(failures) == paths[3:]
    return folder


@pytest.fixture(scope='session')
def detector():
    """One whose own names of classes are hostile."""
    model = load_detector(CONFIG, WEIGHTS, device='cpu')
    model.dataset_meta = dict(classes=CLASSES)
    return model


@pytest.fixture(scope='session')
def both(folder, detector, tmp_path_factory):
    """The folder of a page with what speaks for objects and what against."""
    out = tmp_path_factory.mktemp('both')
    paths = [str(folder / name) for name in (HOSTILE, 'empty.png',
                                             'large.png')]
    assert not explain_files(detector, paths, out, BOTH,
                             report=Report('both', CLASSES, {}))
    return out


@pytest.fixture(scope='session')
def photographs(tmp_path_factory):
    """A page about ``PHOTOGRAPHS`` of scenes: its path, and its report."""
    folder = tmp_path_factory.mktemp('photographs')
    for name, scene in PHOTOGRAPHS.items():
        image = np.full((120, 160, 3), 128, np.uint8) if scene is None else \
            render_scene(0, scene).image
        cv2.imwrite(str(folder / name), image)
    detector = demo_detector()
    report = Report('Photographs', class_names(detector),
                    {'score threshold': '0.3'})
    assert not explain_files(
        detector, [str(folder / name) for name in PHOTOGRAPHS], folder,
        report=report)
    return folder / 'report.html', report


@pytest.fixture(scope='session')
def maps_of(tmp_path_factory):
    """The maps of images, by name and layer."""
    folder = tmp_path_factory.mktemp('errors')
    scene = cv2.resize(render_scene(0, 2).image, (230, 150))
    cv2.imwrite(str(folder / HOSTILE), scene)
    # made smaller in the page
    cv2.imwrite(str(folder / 'large.png'),
                cv2.resize(render_scene(0, 3).image, (2000, 1000)))
    return folder, {
        (name, layer): traced(folder, name, layer)
        for name in (HOSTILE, 'large.png') for layer in LAYERS}


@pytest.fixture(scope='session')
def folder_of_errors(maps_of):
    """The folder of pages of errors of one detector, and of two."""
    folder, found = maps_of
    for count, path in (1, 'one.html'), (2, 'two.html'):
        report = ErrorReport(
            '<i>title</i>', DETECTORS[:count], {'<u>setting</u>': '1'},
            [('<u>caption</u>', ['<u>kind</u>'], [['<u>text</u>']])])
        for name in HOSTILE, 'large.png':
            boxes, _ = found[name, 'neck']
            errors = [for_detectors(error, count) for error in entries(boxes)]
            maps = [found[name, layer][1] for layer in LAYERS[:count]]
            if name == 'large.png':
                # a method without grids, and another order of costs
                maps = [replace(one, grids=()) for one in maps]
                errors = [replace(errors[0], score=0.3, cost=0.5)]
            report.add(photo(folder, name, boxes, maps, errors))
        report.add(photo(folder, HOSTILE, boxes, maps, []))
        assert len(report.photos) == 2  # one without errors is left out
        report.save(folder / path, {'missing.png': 'does not exist'})
    return folder


@pytest.fixture
def page(chromium, folder):
    with opened(chromium, folder / 'report.html') as page:
        yield page


@pytest.fixture
def page_of_both(chromium, both):
    with opened(chromium, both / 'report.html') as page:
        yield page
