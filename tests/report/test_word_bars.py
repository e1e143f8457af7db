"""Bars of words in the report, in a real browser."""
import cv2
import numpy as np
import pytest
from families import random_image
from prompted import SIZE, prompted_detector
from report_page import act, drawn, opened, pixels_of, press, save

from mmdet_diffmap import explain
from mmdet_diffmap.apis import Prompt, explain_files
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.report import Report
from mmdet_diffmap.visualization.word_bars import colour_of

#: All of them together take minutes.
pytestmark = pytest.mark.slow

#: With a letter that is two to a browser.
ASKED = Prompt('a red \U0001f697 . a zebra . the dog', custom_entities=True)
METHODS = {'layer': 'layer-cam', 'rise': dict(type='DRISE', masks=4)}


@pytest.fixture(scope='module')
def asked(tmp_path_factory):
    """The folder of a page about a text-prompted detector, and what it
    says of words."""
    folder = tmp_path_factory.mktemp('words')
    path = str(folder / 'image.png')
    cv2.imwrite(path, random_image(*SIZE))
    model = prompted_detector('grounding_dino')
    assert not explain_files(model, [path], folder, METHODS, Selection(0, 3),
                             report=Report('words', (), {}), writers=[],
                             prompt=ASKED)
    return folder, explain(model, path, 'layer-cam', 0, 3, ASKED
                           ).pred_instances.words


def test_bars_are_of_the_chosen_object(chromium, asked):
    folder, words = asked
    with opened(chromium, folder / 'report.html') as page:
        figure = page.locator('#words')
        assert not figure.is_visible()  # nothing is chosen; its place is kept
        room = figure.bounding_box()
        press(page, 'j')
        press(page, 'j')
        assert figure.is_visible() and figure.bounding_box() == room
        assert 'the score of 1 ' in figure.locator('figcaption').inner_text()
        assert figure.locator('li span').all_inner_texts() == words[1].words
        values = words[1].values / words[1].values.abs().max()
        for item, value in zip(figure.locator('li').all(), values.tolist()):
            text = item.locator('small').inner_text().replace('−', '-')
            assert float(text) == pytest.approx(value, abs=0.006)
            bar = item.locator('i')
            assert bar.get_attribute('class') == (
                'against' if value < 0 else 'for')
            height = bar.evaluate(
                'one => getComputedStyle(one, "::before").height')
            assert float(height.removesuffix('px')) == pytest.approx(
                17 * abs(value), abs=0.1)
        # D-RISE has none
        act(page, lambda: page.select_option('#method', label='rise'))
        assert not figure.is_visible()


def test_other_detectors_have_no_place_for_words(page):
    press(page, 'j')
    assert page.locator('#words').evaluate('one => one.hidden')


def test_the_saved_picture_has_the_bars(chromium, asked):
    folder, words = asked
    with opened(chromium, folder / 'report.html') as page:
        without, _ = save(page)  # no object is chosen
        press(page, 'j')
        press(page, 'j')
        page.mouse.move(2, 2)
        drawn(page)
        picture, _ = save(page)
        unit = pixels_of(page) * page.locator('#photo-0').evaluate(
            'one => one.naturalWidth / one.getBoundingClientRect().width')
    extra = picture[len(without):]
    assert len(extra) > 70 * unit
    # the largest bars of each sign are as high as their values say
    values = words[1].values / words[1].values.abs().max()
    for sign, largest in (-1, -values.min()), (1, values.max()):
        found = (np.abs(extra - colour_of(sign)).max(axis=2) < 6).sum(
            axis=0).max()
        assert found == pytest.approx(
            17 * unit * max(0, float(largest)), abs=2)
