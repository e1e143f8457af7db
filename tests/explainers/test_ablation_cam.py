from dataclasses import replace

import numpy as np
import pytest
import torch
from families import trace_of
from linear import linear_trace, no_input
from mmengine.structures import InstanceData
from rich.console import Console

from mmdet_diffmap import difference_map
from mmdet_diffmap.explainers import AblationCAM, build_explainer
from mmdet_diffmap.explainers.ablation_cam import best_scores, channel_numbers
from mmdet_diffmap.explainers.explainer import JOINT
from mmdet_diffmap.io.progress import progress_display
from mmdet_diffmap.tracing.candidates import Candidates

BOX = torch.tensor([[10., 20., 30., 60.]])


def candidates_of(score):
    return Candidates(BOX, torch.as_tensor(score).view(1), torch.tensor([7]))


class Scores:
    """A detector whose score is a function of the factors of the channels of
    all levels."""

    def __init__(self, score, *channels):
        self.score = score
        self.channels = channels
        self.batches = []

    def whole(self, images):
        return [candidates_of(self.score(
            *(torch.ones(count) for count in self.channels)))]

    def scaled(self, factors):
        assert tuple(each.shape[1] for each in factors) == self.channels
        self.batches.append(len(factors[0]))
        return [candidates_of(self.score(*each)) for each in zip(*factors)]


def traced(scores, feature):
    """One detection that depends on all of a level."""
    trace = linear_trace(torch.ones(5, *feature.shape), feature)
    return replace(
        trace,
        outputs=torch.cat([trace.outputs[:, :1], BOX], dim=1),
        detections=InstanceData(
            scores=torch.ones(1), labels=torch.tensor([7])),
        input=replace(no_input(), candidates=scores.whole),
        scaled_channels=scores.scaled)


def maps_of(explainer, trace):
    (maps, ) = explainer.grid_maps(trace)
    return maps.values[0]


def test_weights_of_a_sum():
    """If the score is a sum, each channel's weight is its share."""
    parts = torch.tensor([.1, .3, -.1, .2])
    feature = torch.rand(4, 3, 5)
    trace = traced(Scores(lambda factors: factors @ parts, 4), feature)
    explainer = AblationCAM(progress=False)
    torch.testing.assert_close(
        explainer.channel_weights(trace, channel_numbers([4])),
        parts[None] / .5)
    torch.testing.assert_close(
        maps_of(explainer, trace),
        torch.einsum('k,khw->hw', parts / .5, feature).relu())


@pytest.mark.parametrize('batch_size', [1, 2, 5, 100])
def test_batches_do_not_matter(batch_size):
    parts = torch.arange(1., 6) / 15
    scores = Scores(lambda factors: factors @ parts, 5)
    trace = traced(scores, torch.rand(5, 3, 4))
    maps = maps_of(AblationCAM(batch_size, progress=False), trace)
    torch.testing.assert_close(
        maps, torch.einsum('k,khw->hw', parts, trace.features[0]))
    assert sum(scores.batches) == 5
    assert max(scores.batches) == min(batch_size, 5)


def test_channels_of_all_levels():
    """The same channels are ablated at once, others one after the other."""
    first, second = torch.tensor([.1, .4]), torch.tensor([.2, .1, .2])
    scores = Scores(lambda *factors: factors[0] @ first +
                    factors[1] @ second, 2, 3)
    trace = traced(scores, torch.rand(2, 3, 4))
    explainer = AblationCAM(progress=False)
    torch.testing.assert_close(
        explainer.channel_weights(trace, channel_numbers([2, 3])),
        torch.tensor([[.1, .4, .2, .1, .2]]))
    both = Scores(lambda *factors: factors[0] @ first + factors[1] @ first,
                  2, 2)
    torch.testing.assert_close(
        explainer.channel_weights(traced(both, torch.rand(2, 3, 4)),
                                  channel_numbers([2, 2])),
        torch.tensor([[.2, .8]]))


def test_detection_that_is_not_found_again_has_an_empty_map():
    trace = traced(Scores(lambda factors: factors.sum(), 3),
                   torch.rand(3, 4, 5))
    explainer = AblationCAM(progress=False)
    assert maps_of(explainer, trace).any()
    other = trace.detections.clone()
    other.labels += 1  # no candidate is of this class
    assert not maps_of(explainer, replace(trace, detections=other)).any()


def test_without_detections_nothing_runs():
    scores = Scores(lambda factors: factors.sum(), 3)
    trace = traced(scores, torch.rand(3, 4, 5)).select([])
    assert AblationCAM()(trace).shape == (0, 4, 5)
    assert not scores.batches


def test_best_scores_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    corners = rng.random((2, 60, 2))
    boxes = np.concatenate([corners.min(0), corners.max(0) + .3], axis=1)
    scores, labels = rng.random(60), rng.integers(2, size=60)

    def iou(one, other):
        sides = np.minimum(one[2:], other[2:]) - np.maximum(
            one[:2], other[:2])
        common = sides.clip(0).prod()
        areas = [(box[2:] - box[:2]).prod() for box in (one, other)]
        return common / (sum(areas) - common)

    expected = [
        max([scores[j] for j in range(20, 60)
             if labels[i] == labels[j] and iou(boxes[i], boxes[j]) > .5],
            default=0) for i in range(20)
    ]
    boxes, scores, labels = map(torch.from_numpy, (boxes, scores, labels))
    found = best_scores(boxes[:20], labels[:20], Candidates(
        boxes[20:], scores[20:], labels[20:]))
    np.testing.assert_allclose(found, expected)
    assert 0 < (found > 0).sum() < 20


def test_best_score_of_no_candidate_and_of_boxes_without_an_area():
    none = Candidates(BOX[:0], torch.zeros(0), torch.zeros(0))
    assert best_scores(BOX, torch.tensor([7]), none).tolist() == [0]
    point = torch.ones(1, 4)
    assert best_scores(point, torch.tensor([7]), Candidates(
        point, torch.ones(1), torch.tensor([7]))).tolist() == [0]


def test_of_a_detector():
    """Whatever the batch, on all levels of its neck; and its difference
    map."""
    trace = trace_of('yolox')
    maps = AblationCAM(progress=False).maps(trace, by_output=True)
    other = AblationCAM(20, progress=False)(trace)
    torch.testing.assert_close(other, maps.heatmaps, rtol=0, atol=1e-3)
    assert maps.heatmaps.amax(dim=(1, 2)).tolist() == [1] * len(trace)
    for level in maps.grids[JOINT]:
        assert level.windows.are_whole and (level.values >= 0).all()
    torch.testing.assert_close(
        build_explainer('ablation-cam-diff', batch_size=20)(trace),
        difference_map(other), rtol=0, atol=0)


def test_mixed_precision_of_the_caller_is_not_its_own():
    trace = trace_of('yolox')
    plain = AblationCAM(progress=False)(trace)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = AblationCAM(progress=False)(trace)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)


def test_progress_in_a_terminal_only():
    trace = traced(Scores(lambda factors: factors.sum(), 3),
                   torch.rand(3, 4, 5))
    for terminal, progress in (True, True), (False, True), (True, False):
        console = Console(force_terminal=terminal, width=80)
        with console.capture() as capture, progress_display(console):
            AblationCAM(progress=progress)(trace)
        assert ('Ablation-CAM' in capture.get()) == (terminal and progress)


@pytest.mark.parametrize('batch_size', [0, -1, 2.5, '3'])
def test_mistakes(batch_size):
    with pytest.raises(ValueError, match='batch_size must be a whole number '
                       f'of 1 or more, not {batch_size}'):
        AblationCAM(batch_size)
