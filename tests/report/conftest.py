"""What tests of pages share: a browser, and pages that are open in it."""
import cv2
import numpy as np
import pytest
from browser import browser
from demo import CONFIG, WEIGHTS, demo_detector
from report_page import BOTH, CLASSES, HOSTILE, METHODS, opened

from mmdet_diffmap import load_detector
from mmdet_diffmap.apis import explain_files
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.report import Report


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
def chromium():
    with browser() as chromium:
        yield chromium


@pytest.fixture
def page(chromium, folder):
    with opened(chromium, folder / 'report.html') as page:
        yield page


@pytest.fixture
def page_of_both(chromium, both):
    with opened(chromium, both / 'report.html') as page:
        yield page
