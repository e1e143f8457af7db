"""What speaks against missed objects is removed: the parts of the check, on
cases that can be read off, and all of it on a few scenes."""
import numpy as np
import pytest
import torch
from demo import demo_detector

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.lab.evidence import (
    FILLS,
    RANKINGS,
    SHARES,
    EvidenceCase,
    check_evidence,
    occlude,
    on_occluder,
    rankings,
    scores_of,
)
from mmdet_diffmap.lab.planted_errors import instances_of
from mmdet_diffmap.tracing.candidates import Candidates


def test_rankings():
    signed = torch.tensor([[0.5, -1.0, 0.0, 0.1],
                           [-0.2, 0.0, 0.9, 0.0],
                           [0.0, 0.0, 0.0, 0.0]])
    box = torch.tensor([10., 20., 12., 22.])  # of the input
    orders = rankings(signed, box, (20, 10), np.random.default_rng(0))
    assert set(orders) == set(RANKINGS)
    assert orders['against'][:2].tolist() == [1, 4]
    assert orders['magnitude'][:3].tolist() == [1, 6, 0]
    assert orders['for'][:2].tolist() == [6, 0]
    assert sorted(orders['random'].tolist()) == [0, 1, 4, 5]
    # around the middle of the two by two pixels of the box
    assert orders['turned'][:2].tolist() == [4, 1]


def test_scores_are_of_the_class_and_the_place():
    box = torch.tensor([[0., 0., 10., 10.]])
    candidates = Candidates(
        torch.tensor([[0., 0., 10., 9.], [0., 0., 10., 9.],
                      [0., 0., 10., 4.], [0., 0., 10., 8.]]),
        torch.tensor([.3, .9, .8, .4]), torch.tensor([1, 0, 1, 1]))
    assert scores_of(candidates, box, torch.tensor([1])).tolist() == \
        pytest.approx([.4])
    assert scores_of(candidates, box, torch.tensor([2])).tolist() == [0]


def test_shares_on_the_occluder():
    signed = torch.zeros(4, 4)
    signed[0, 0], signed[0, 1], signed[3, 3] = -3, -1, 2
    occluder = np.zeros((4, 4), bool)
    occluder[0, 0] = True
    shares = on_occluder(signed, occluder, torch.tensor([0., 0., 2., 2.]))
    assert shares == {('occluder', 'area'): 25, ('occluder', 'against'): 75,
                      ('occluder', 'for'): 0}


def test_a_patch_hides_a_part_of_one_object():
    scene = render_scene(0, 3)
    image, mask = occlude(scene, (0, 3))
    again, _ = occlude(scene, (0, 3))
    assert np.array_equal(image, again)
    assert np.array_equal(image[~mask], scene.image[~mask])
    shares = [mask[y1:y2, x1:x2].mean()
              for x1, y1, x2, y2 in scene.boxes.astype(int)]
    assert 0.35 < max(shares) < 0.7


def scenes(count):
    pipeline = image_pipeline(demo_detector())
    for index in range(count):
        scene = render_scene(0, index)
        image, mask = occlude(scene, (0, index))
        yield EvidenceCase(pipeline(image).batch, instances_of(scene),
                           pipeline(scene.image).batch, mask)


@pytest.mark.slow
def test_what_it_hides_comes_back():
    """With more and more of what a patch hides, scores rise, whatever comes
    first; and more so with what speaks against than with its turned map."""
    figures = check_evidence(demo_detector(), scenes(24),
                             ODAM(outputs='score'), FILLS)
    assert figures.objects > 6
    assert set(figures.changes) == {
        (fill, share, ranking) for fill in FILLS for share in SHARES
        for ranking in RANKINGS}
    rising = [figures.changes['hidden', share, 'against'].mean
              for share in SHARES]
    assert rising == sorted(rising) and rising[-1] > 3
    assert figures.differences['hidden', SHARES[-1], 'turned'].mean > 0
    assert set(figures.on_occluder) == {'for', 'against', 'area'}


def test_nothing_missed():
    cases = (EvidenceCase(image_pipeline(demo_detector())(
        'scene://0/1').batch, []) for _ in range(1))
    with pytest.raises(ValueError, match='nothing to look at'):
        check_evidence(demo_detector(), cases, ODAM(outputs='score'))
