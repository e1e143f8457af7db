"""Figures as files: what other programs read in them."""
import re

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from mmdet_diffmap.visualization.drawing import Drawing, wrapped

RED, GREEN = (200, 0, 0), (0, 230, 64)


@pytest.fixture
def drawing():
    """A red picture, a box that is half outside of it, and a line of text
    with what matplotlib takes for mathematics."""
    drawing = Drawing(300, 200)
    drawing.picture((20, 40), np.full((50, 100, 3), RED, np.uint8), (100, 50))
    drawing.outline((60, 60, 200, 80), GREEN, 2, (20, 40, 120, 90))
    drawing.text((20, 10), 'cost_$5$ 0.83', 15)
    return drawing


def rendered(path):
    """A PDF's first page at the drawing's own size, RGB."""
    page = pypdfium2.PdfDocument(path)[0]
    assert page.get_size() == pytest.approx((150, 100))
    return np.asarray(page.render(scale=2).to_pil().convert('RGB')).astype(int)


def pictures_in(path):
    return [item for item in pypdfium2.PdfDocument(path)[0].get_objects()
            if item.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]


def check_pixels(pixels):
    assert pixels.shape == (200, 300, 3)
    assert (np.abs(pixels[85, 100] - RED) < 6).all()
    assert (pixels[85, 140] == 255).all()
    green = (np.abs(pixels - GREEN) < 70).all(axis=-1)
    assert green[60:62, 65:119].mean() > 0.9  # the upper line
    assert not green[:, 121:].any()  # cut off where the picture ends
    dark = pixels.sum(axis=-1) < 200
    rows = np.nonzero(dark[:35].any(axis=1))[0]
    assert 10 <= rows.min() <= 14 and 22 <= rows.max() <= 29  # the text


def test_pixels(drawing, tmp_path):
    check_pixels(drawing.pixels().astype(int))
    for ending in 'png', 'jpg':
        drawing.save(tmp_path / f'a.{ending}')
        with Image.open(tmp_path / f'a.{ending}') as image:
            assert image.format == dict(png='PNG', jpg='JPEG')[ending]
            check_pixels(np.asarray(image).astype(int))


def test_pdf_has_text_lines_and_the_pictures_own_pixels(drawing, tmp_path):
    path = tmp_path / 'a.pdf'
    drawing.save(path)
    check_pixels(rendered(path))
    page = pypdfium2.PdfDocument(path)[0]
    assert page.get_textpage().get_text_bounded() == 'cost_$5$ 0.83'
    kinds = [item.type for item in page.get_objects()]
    assert kinds.count(pypdfium2.raw.FPDF_PAGEOBJ_PATH) >= 2
    (picture, ) = pictures_in(path)
    assert picture.get_px_size() == (100, 50)
    content = path.read_bytes()
    assert b'/Subtype /Type3' not in content  # which journals refuse
    assert b'/FontFile2' in content


def test_svg_has_text_and_pictures(drawing, tmp_path):
    path = tmp_path / 'a.svg'
    drawing.save(path)
    text = path.read_text()
    assert re.search(r'<text [^>]*>cost_\$5\$ 0\.83</text>', text)
    assert len(re.findall('<image ', text)) == 1
    assert text.count('stroke: #00e640') == 1


def test_a_picture_of_twice_as_many_pixels(tmp_path):
    drawing = Drawing(100, 100)
    drawing.picture((0, 0), np.zeros((160, 160, 3), np.uint8), (80, 80))
    assert (drawing.pixels()[79, 79] == 0).all()
    assert (drawing.pixels()[80, 80] == 255).all()
    drawing.save(tmp_path / 'a.pdf')
    (picture, ) = pictures_in(tmp_path / 'a.pdf')
    assert picture.get_px_size() == (160, 160)


def test_too_large_for_a_jpeg(tmp_path):
    drawing = Drawing(10, 70000)
    with pytest.raises(ValueError, match='10x70000 pixels is too large for a'):
        drawing.save(tmp_path / 'a.jpg')
    drawing.save(tmp_path / 'a.png')
    drawing.save(tmp_path / 'a.pdf')
    _, height = pypdfium2.PdfDocument(tmp_path / 'a.pdf')[0].get_size()
    assert height == pytest.approx(14000)  # more, some programs refuse
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'a.pdf', 'a.png']


def test_lines_of_text():
    assert wrapped('one two', 12, 1000) == ['one two']
    lines = wrapped('one two three', 12, 50)
    assert len(lines) > 1 and ' '.join(lines) == 'one two three'
    assert wrapped('unbreakable', 12, 5) == ['unbreakable']
