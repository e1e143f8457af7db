import numpy as np
import pytest

from mmdet_diffmap.evaluation.summary import (
    Means,
    interval,
    percent_curves,
    summarize,
)


def random_entry(image_id, count, random, methods=('a', 'b'), steps=4):
    found = random.uniform(.4, 1, count)
    return dict(
        image_id=image_id,
        objects=[{}] * count,
        untouched=found.tolist(),
        scores={
            method: {
                direction: {
                    kind: random.random((count, steps + 1)).tolist()
                    for kind in ('target', 'others')
                } for direction in ('deletion', 'insertion')
            } for method in methods
        },
        localization={
            method: dict(odi_box=[None, *random.random(count - 1)])
            for method in methods
        })


@pytest.fixture
def entries():
    random = np.random.default_rng(0)
    return [random_entry(i, count, random)
            for i, count in enumerate([2, 5, 3, 2, 4, 2, 6])]


def test_curves_are_in_per_cent_of_the_untouched_scores():
    entry = dict(
        untouched=[.8, .5, .7],
        scores=dict(m=dict(
            deletion=dict(target=[[.8, .4], [.5, .1], [.7, .7]],
                          others=[[.6, .3], [.75, .75], [.65, 0]]),
            insertion=dict(target=[[0, .4], [0, .1], [0, .7]],
                           others=[[0, .3], [0, .3], [0, 0]]))))
    found = percent_curves(entry, 'm')
    assert found['deletion', 'target'].tolist() == [
        [100, 50], [100, pytest.approx(20)], [100, 100]]
    assert found['deletion', 'others'] == pytest.approx(
        np.array([[100, 50], [100, 100], [100, 0]]))
    assert found['insertion', 'others'][0].tolist() == [0, 50]


def test_means_are_over_all_objects(entries):
    result = summarize(entries, ['a', 'b'], [('b', 'a')])
    areas, curves = [], []
    for entry in entries:  # one object after the other
        for i, untouched in enumerate(entry['untouched']):
            values = entry['scores']['b']['insertion']['target'][i]
            curve = 100 * np.array(values) / untouched
            areas.append(np.trapezoid(curve, dx=1 / 4))
            curves.append(curve)
    found = result['explainers']['b']
    assert result['num_objects'] == 24 and result['num_images'] == 7
    assert found['insertion']['target'] == pytest.approx(np.mean(areas))
    assert found['curves']['insertion']['target'] == pytest.approx(
        np.mean(curves, axis=0))
    odi = [value for entry in entries
           for value in entry['localization']['a']['odi_box'][1:]]
    assert result['explainers']['a']['localization'][
        'odi_box'] == pytest.approx(np.mean(odi))
    pair = result['differences']['b - a']['insertion']['target']
    assert pair['mean'] == pytest.approx(
        found['insertion']['target'] -
        result['explainers']['a']['insertion']['target'])


def test_images_without_objects_are_counted_apart(entries):
    result = summarize([dict(image_id=-1, objects=[]), *entries], ['a'], [])
    assert result['num_skipped'] == 1 and result['num_images'] == 7
    empty = summarize([dict(image_id=-1, objects=[])], ['a'], [])
    assert empty['num_images'] == 0 and empty['explainers'] == dict(a={})


def test_intervals_of_the_normal_distribution():
    random = np.random.default_rng(1)
    means = Means()
    for value in random.normal(10, 2, 400):
        means.add('x', [value])
    (low, high), = means.intervals(['x']).values()
    # the closed form: 1.96 standard errors, here 0.196
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=.15)
    assert low < means.mean('x') < high


def test_differences_are_paired():
    random = np.random.default_rng(1)
    means = Means()
    for value in random.normal(10, 50, 60):
        means.add('x', [value, value + 1])
        means.add('y', [value - 3, value - 2])
    limits = means.intervals(['x', 'y'], [('x', 'y')])
    assert limits['x', 'y'] == pytest.approx([3, 3])
    assert limits['x'][1] - limits['x'][0] > 10


def test_images_are_drawn_not_objects():
    # two images of 100 equal objects: a mean is 0, 1/2 or 1, not about 1/2
    means = Means()
    means.add('x', [0.] * 100)
    means.add('x', [1.] * 100)
    assert means.intervals(['x'])['x'] == [0, 1]


def test_nothing_known_has_no_interval():
    means = Means()
    means.add('x', [None])
    assert means.mean('x') is None and means.intervals(['x'])['x'] is None
    assert interval(np.array([np.nan])) is None
