"""Outlines of masks in the report, in a real browser. Their borders come from
scipy, which has no part in drawing them."""
import cv2
import numpy as np
import pytest
from families import build, random_image
from mmengine.hub import get_config
from report_page import (
    enlarged,
    find,
    opened,
    pixels_of,
    press,
    save,
    shown,
)
from scipy.ndimage import binary_erosion

from mmdet_diffmap import explain
from mmdet_diffmap.apis import explain_files
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.lab.zoo import small
from mmdet_diffmap.report import Report
from mmdet_diffmap.report.page_file import BOX_COLOURS

#: All of them together take minutes.
pytestmark = pytest.mark.slow

SIZE = 64, 96


@pytest.fixture(scope='module')
def masked(tmp_path_factory):
    """A page about a detector that finds masks, and no boxes (its weights are
    random); and its masks."""
    folder = tmp_path_factory.mktemp('outlines')
    path = str(folder / 'image.png')
    cv2.imwrite(path, random_image(*SIZE))
    cfg = get_config('mmdet::solov2/solov2-light_r18_fpn_ms-3x_coco.py')
    small.shrink(cfg, SIZE)
    cfg.model.test_cfg.mask_thr = 0.5  # else masks are nearly all of the image
    model = build(cfg)
    small.calibrate(model, small.random_batch(model, SIZE))
    assert not explain_files(model, [path], folder, {'layer': 'layer-cam'},
                             Selection(0, 3), writers=[],
                             report=Report('masks', ('thing', ) * 80, {}))
    found = explain(model, path, 'layer-cam', 0, 3).pred_instances
    return folder / 'report.html', found.masks.numpy()


def border(mask):
    return mask & ~binary_erosion(mask)


def seen_path(page):
    """Which pixels a chosen object's outline goes through, (H, W)."""
    places = page.evaluate('''() => {
        const lines = [...document.querySelectorAll('#boxes-0 path.line')];
        const isHidden = line => getComputedStyle(line).display === 'none';
        return lines.filter(line => !isHidden(line) &&
                            !isHidden(line.parentElement)).map(line =>
            Array.from({length: 4 * line.getTotalLength() + 1}, (_, step) => {
                const {x, y} = line.getPointAtLength(step / 4);
                return [Math.floor(y), Math.floor(x)];
            }));
    }''')
    pixels = np.zeros(SIZE, bool)
    assert len(places) <= 1
    for row, column in places[0] if places else ():
        pixels[row, column] = True
    return pixels


def test_the_outline_is_the_border_of_the_chosen_mask(chromium, masked):
    path, masks = masked
    with opened(chromium, path) as page:
        assert not seen_path(page).any()
        for mask in masks:
            press(page, 'j')
            page.mouse.move(2, 2)
            assert mask.any()
            assert (seen_path(page) == border(mask)).all()
        press(page, 'b')
        assert not seen_path(page).any()


def test_the_saved_picture_has_the_outline(chromium, masked):
    path, masks = masked
    with opened(chromium, path) as page:
        press(page, 'j', 'b')
        page.mouse.move(2, 2)
        bare, _ = save(page)
        press(page, 'b')
        picture, _ = save(page)
        pixels = pixels_of(page)
        y, x = find(bare, enlarged(shown(page), pixels))
    rows, columns = border(masks[0]).nonzero()
    middles = (y + rows * pixels + pixels // 2,
               x + columns * pixels + pixels // 2)
    ours = np.abs(picture[middles] - BOX_COLOURS['target']).max(axis=1) < 40
    assert ours.mean() > 0.9  # a label lies over some
    inside = binary_erosion(masks[0], iterations=3)
    rows, columns = inside.nonzero()
    middles = (y + rows * pixels + pixels // 2,
               x + columns * pixels + pixels // 2)
    assert (picture[middles] == bare[middles]).all()


def test_objects_without_masks_have_no_outline(page):
    press(page, 'j')
    assert page.locator('#boxes-0 path').count() == 0
