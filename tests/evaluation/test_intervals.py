import numpy as np
import pytest

from mmdet_diffmap.evaluation.intervals import Estimate, Means, interval


def test_intervals_of_the_normal_distribution():
    random = np.random.default_rng(1)
    means = Means()
    for value in random.normal(10, 2, 400):
        means.add('x', [value])
    estimate = means.estimates()['x']
    # the closed form: 1.96 standard errors, here 0.196
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 2 / 20,
                                                         rel=.15)
    assert estimate.low < means.mean('x') == estimate.mean < estimate.high


def test_differences_are_paired():
    random = np.random.default_rng(1)
    means = Means()
    for value in random.normal(10, 50, 60):
        means.add('x', [value, value + 1])
        means.add('y', [value - 3, value - 2])
    estimates = means.estimates([('x', 'y')])
    assert estimates['x', 'y'].limits == pytest.approx([3, 3])
    assert estimates['x', 'y'].mean == pytest.approx(3)
    assert estimates['x'].high - estimates['x'].low > 10


def test_images_are_drawn_not_objects():
    # two images of 100 equal objects: a mean is 0, 1/2 or 1, not about 1/2
    means = Means()
    means.add('x', [0.] * 100)
    means.add('x', [1.] * 100)
    assert means.estimates()['x'].limits == [0, 1]


def test_what_has_no_value_has_no_interval():
    means = Means()
    means.add('x', [None])
    means.add('y', [1.])
    estimates = means.estimates([('x', 'y')])
    assert means.mean('x') is None
    assert estimates['x'] == estimates['x', 'y'] == Estimate(None, None, None)
    assert estimates['x'].as_dict() == dict(mean=None, ci95=None)
    assert estimates['y'].as_dict() == dict(mean=1, ci95=None)
    assert interval(np.array([np.nan])) == (None, None)
    assert Means().estimates() == {}


def test_one_image_with_a_value_gives_no_interval():
    means = Means()
    for image, others in enumerate(([1., 2.], [3.], [5., 6., 7.])):
        means.add('many', others)
        means.add('one', [float(image)] if image == 1 else [None])
    estimates = means.estimates([('many', 'one')])
    assert estimates['one'] == Estimate(1, None, None)
    assert estimates['many', 'one'] == Estimate(3, None, None)
    assert estimates['many'].limits == [1.5, 6]
    assert estimates['one'].written('.1f') == '1.0'
    assert estimates['many'].written('+.1f') == '+4.0 (+1.5 to +6.0)'
