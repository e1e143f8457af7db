"""The colours of maps and boxes, as people with and without all cones see
them (Machado, Oliveira & Fernandes, 2009, by the package colour-science)."""
import warnings

import numpy as np
import pytest

from mmdet_diffmap.visualization import use_colours
from mmdet_diffmap.visualization.colours import (
    DEFAULT,
    OPAQUE,
    OTHER,
    RIGHT,
    RIVAL,
    SCHEMES,
    STEPS,
    TARGET,
    WRONG,
    colour_bar,
    colour_table,
    opacity,
    overlay,
)

# it misses packages for plots and graphs, and changes how numpy prints
with warnings.catch_warnings(), np.printoptions():
    warnings.simplefilter('ignore')
    import colour
    from colour.blindness import matrix_cvd_Machado2009

SAFE = [name for name, scheme in SCHEMES.items() if scheme.safe]
EYES = [None, 'Deuteranomaly', 'Protanomaly']
GREYS = np.repeat(np.arange(0, 256, 5)[:, None], 3, axis=1)


@pytest.fixture(params=SCHEMES)
def scheme(request):
    use_colours(request.param)
    yield request.param
    use_colours(DEFAULT)


def lab(colours, eyes=None):
    """CIELAB of sRGB colours (N, 3) in 0-255, as eyes see them that lack a
    kind of cones."""
    linear = colour.models.eotf_sRGB(np.asarray(colours) / 255)
    if eyes:
        linear = (linear @ matrix_cvd_Machado2009(eyes, 1.).T).clip(0, 1)
    to_xyz = colour.models.RGB_COLOURSPACE_sRGB.matrix_RGB_to_XYZ
    return colour.XYZ_to_Lab(linear @ to_xyz.T)


def apart(first, second, eyes=None):
    """How different colours are, each of one list from each of another
    (CIEDE2000: 1 is just visible)."""
    first, second = lab(np.atleast_2d(first), eyes), lab(
        np.atleast_2d(second), eyes)
    return colour.delta_E(first[:, None], second[None], method='CIE 2000')


def test_opacity_begins_flat_at_zero_and_grows():
    values = np.linspace(0, 1, 1001)
    shares = opacity(values)
    assert shares[0] == 0 and shares[-1] == pytest.approx(OPAQUE)
    assert (np.diff(shares) > 0).all()
    assert (opacity(-values) == shares).all()
    # the root and the absolute value, with a bend at zero, begin steeply
    assert shares[1] / values[1] < 0.01


def test_small_values_lay_no_fog_over_the_photo(scheme):
    for level in 0, 60, 128, 255:
        photo = np.full((1, 5, 3), level, np.uint8)
        values = np.array([[-0.05, -0.02, 0, 0.02, 0.05]], np.float32)
        for drawn in overlay(photo, values, True), overlay(
                photo, values.clip(0), False):
            assert np.abs(drawn.astype(int) - level).max() <= 4
            assert (drawn[0, 2] == level).all()


def test_where_the_sign_changes_there_is_no_contour(scheme):
    """A ramp from one end to the other leaves the photo on one side, and
    comes from it on the other: the closer to zero, the more of it shows."""
    photo = np.full((1, 801, 3), 128, np.uint8)
    drawn = overlay(photo, np.linspace(-1, 1, 801, dtype=np.float32)[None],
                    True)
    off = apart(drawn[0], [128, 128, 128])[:, 0]
    middle = slice(400 - 120, 401)  # values above -0.3
    # less and less, but for rounding to whole levels
    assert (np.diff(off[middle]) < 0.9).all()
    assert (np.diff(off[::-1][middle]) < 0.9).all()
    assert off[395:406].max() < 1 and off[[0, -1]].min() > 15


def test_a_map_lies_over_the_photo_by_the_formula(scheme):
    photo = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    values = np.random.default_rng(1).uniform(-1, 1, (4, 6)).astype(np.float32)
    drawn = overlay(photo, values, True, grey=False)
    for row in range(4):
        for column in range(6):
            value = float(values[row, column])
            paint = colour_table(True)[round((value + 1) / 2 * (STEPS - 1))]
            share = OPAQUE * value**2 * 1.16 / (value**2 + 0.16)
            for channel in range(3):
                under = int(photo[row, column, channel])
                expected = under + share * (int(paint[channel]) - under)
                assert abs(drawn[row, column, channel] - expected) <= 0.51


def test_a_colour_bar_shows_what_a_grey_photo_would(scheme):
    bar = colour_bar((301, 4), True)
    assert bar.shape == (4, 301, 3)
    assert (bar[:, 150] == bar[0, 150, 0]).all()  # zero is the grey itself
    assert apart(bar[0, 0], bar[0, -1]) > 30


@pytest.mark.parametrize('eyes', EYES)
@pytest.mark.parametrize('name', SAFE)
def test_both_sides_of_signed_maps_differ_from_each_other_and_from_grey(
        name, eyes):
    table = colour_table(True, name)
    for step in 0, STEPS // 8, STEPS // 4:
        low, high = table[step], table[STEPS - 1 - step]
        assert apart(low, high, eyes) > 40
        assert min(apart(low, GREYS, eyes).min(),
                   apart(high, GREYS, eyes).min()) > 18


@pytest.mark.parametrize('eyes', EYES)
@pytest.mark.parametrize('name', SAFE)
def test_larger_values_of_heat_maps_are_lighter(name, eyes):
    lightness = lab(colour_table(False, name), eyes)[:, 0]
    assert (np.diff(lightness) > -0.1).all()
    assert lightness[-1] - lightness[0] > 60
    assert apart(colour_table(False, name)[-1], GREYS, eyes).min() > 18


@pytest.mark.parametrize('eyes', EYES)
def test_boxes_that_meet_in_one_picture_differ(eyes):
    assert apart(TARGET, RIVAL, eyes) > 35
    for first in TARGET, RIVAL:
        assert apart(first, OTHER, eyes) > 15
    assert apart(WRONG, RIGHT, eyes) > 45
    assert min(apart(TARGET, WRONG, eyes), apart(RIVAL, RIGHT, eyes)) > 12


def test_what_was_measured_tells_bad_colours_from_good_ones():
    """Green and orange of the same lightness, the red of bwr's middle values,
    turbo."""
    assert apart((0, 230, 64), (255, 157, 46), 'Deuteranomaly') < 5
    assert apart((255, 128, 128), GREYS, 'Protanomaly').min() < 12
    turbo = lab(colour_table(False, 'classic'))[:, 0]
    assert np.diff(turbo).min() < -0.1


def test_unknown_colours_are_refused():
    with pytest.raises(ValueError, match=r'no colours .jet.: choose safe, '):
        use_colours('jet')
