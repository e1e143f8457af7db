from itertools import combinations

import pytest
from matplotlib.colors import to_rgb

from mmdet_diffmap.visualization.colours import LINES
from mmdet_diffmap.visualization.lines import line_styles


def luminance(colour):
    """Relative luminance of WCAG 2."""
    linear = [part / 12.92 if part <= 0.04045 else
              ((part + 0.055) / 1.055)**2.4 for part in to_rgb(colour)]
    return sum(weight * part for weight, part in
               zip((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize('colour', LINES)
def test_colours_are_seen_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) > 2


def test_no_two_lines_differ_by_their_colour_alone():
    bases = {f'm{i}-{end}': f'm{i}' for i in range(13)
             for end in ('diff', 'positive')}
    names = [name for i in range(13)
             for name in (f'm{i}', f'm{i}-diff', f'm{i}-positive')]
    styles = line_styles(names, bases)
    assert list(styles) == names
    for first, second in combinations(names, 2):
        one, other = styles[first], styles[second]
        assert any(one[key] != other[key] for key in (
            'linestyle', 'marker', 'markerfacecolor')), (first, second)
