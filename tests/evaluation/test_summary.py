import numpy as np
import pytest

from mmdet_diffmap.evaluation.intervals import Means
from mmdet_diffmap.evaluation.measured_image import MeasuredImage
from mmdet_diffmap.evaluation.summary import Summary

OBJECT = dict(label=0, score=.9, bbox=[0, 0, 9, 9], truth=[0, 0, 9, 9],
              area=81)


def random_entry(image_id, count, random, methods=('a', 'b'), steps=4):
    untouched = random.uniform(.4, 1, count)
    return dict(
        image_id=image_id,
        objects=[OBJECT] * count,
        untouched=untouched.tolist(),
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


def summarize(entries, methods, pairs):
    """Return the figures as del_ins.json holds them."""
    summary = Summary(methods, pairs)
    for entry in entries:
        summary.add(entry)
    return summary.figures().as_dict()


def test_curves_are_in_per_cent_of_the_untouched_scores():
    entry = dict(
        image_id=0,
        objects=[OBJECT] * 3,
        untouched=[.8, .5, .7],
        scores=dict(m=dict(
            deletion=dict(target=[[.8, .4], [.5, .1], [.7, .7]],
                          others=[[.6, .3], [.75, .75], [.65, 0]]),
            insertion=dict(target=[[0, .4], [0, .1], [0, .7]],
                           others=[[0, .3], [0, .3], [0, 0]]))))
    curves = MeasuredImage.of_entry(entry).percent_curves('m')
    assert curves['deletion', 'target'].tolist() == [
        [100, 50], [100, pytest.approx(20)], [100, 100]]
    assert curves['deletion', 'others'] == pytest.approx(
        np.array([[100, 50], [100, 100], [100, 0]]))
    assert curves['insertion', 'others'][0].tolist() == [0, 50]


def test_every_point_of_a_curve_has_the_interval_of_its_mean(entries):
    figures = summarize(entries, ['a'], [])['explainers']['a']
    for i in range(5):
        means = Means()  # of this step alone
        for entry in entries:
            scores = entry['scores']['a']['deletion']['target']
            means.add('x', [100 * values[i] / untouched for values, untouched
                            in zip(scores, entry['untouched'])])
        assert figures['curves_ci95']['deletion']['target'][i] == \
            pytest.approx(means.estimates()['x'].limits)
    (single, ) = summarize(entries[:1], ['a'], [])['explainers'].values()
    assert single['curves_ci95']['insertion']['others'] == [None] * 5
    assert single['ci95']['insertion']['others'] is None


def test_means_are_over_all_objects(entries):
    result = summarize(entries, ['a', 'b'], [('b', 'a')])
    areas, curves = [], []
    for entry in entries:  # one object after the other
        for i, untouched in enumerate(entry['untouched']):
            values = entry['scores']['b']['insertion']['target'][i]
            curve = 100 * np.array(values) / untouched
            areas.append(np.trapezoid(curve, dx=1 / 4))
            curves.append(curve)
    figures = result['explainers']['b']
    assert result['num_objects'] == 24 and result['num_images'] == 7
    assert figures['insertion']['target'] == pytest.approx(np.mean(areas))
    assert figures['curves']['insertion']['target'] == pytest.approx(
        np.mean(curves, axis=0))
    odi = [value for entry in entries
           for value in entry['localization']['a']['odi_box'][1:]]
    assert result['explainers']['a']['localization'][
        'odi_box'] == pytest.approx(np.mean(odi))
    pair = result['differences']['b - a']['insertion']['target']
    assert pair['mean'] == pytest.approx(
        figures['insertion']['target'] -
        result['explainers']['a']['insertion']['target'])


def test_images_without_objects_are_counted_apart(entries):
    result = summarize([dict(image_id=-1, objects=[]), *entries], ['a'], [])
    assert result['num_skipped'] == 1 and result['num_images'] == 7
    empty = summarize([dict(image_id=-1, objects=[])], ['a'], [])
    assert empty['num_images'] == 0 and empty['explainers'] == dict(a={})
