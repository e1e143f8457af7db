import pytest
import torch

from mmdet_diffmap.gradients import DenseGradients


@pytest.fixture
def graph():
    """Two levels; the first output depends on the first level through the
    head, the second on both, on one of them past the head too."""
    torch.manual_seed(0)
    features = [torch.randn(1, 2, 3, 4).requires_grad_() for _ in range(2)]
    raw = [feature.square().sum() * 2 for feature in features]
    cut = [one.detach().requires_grad_() for one in raw]
    outputs = torch.stack([
        cut[0] * 3, cut[0] + cut[1] * 5 + (7 * features[1]).sum(),
        (features[0]**3).sum(), features[0].sum() * 0 + 1, cut[1] * 0,
    ])[None]
    return features, raw, cut, outputs


def gradients(graph):
    features, raw, cut, outputs = graph
    return [{level.level: level.gradient for level in found.levels}
            for found in DenseGradients(features, raw, cut)(outputs, range(5))]


def test_paths_through_and_past_the_head(graph):
    (first, second), _, _, _ = graph
    score, x1, y1, _, y2 = gradients(graph)
    assert score.keys() == {0} and x1.keys() == {0, 1} and y1.keys() == {0}
    torch.testing.assert_close(score[0], 12 * first[0])
    torch.testing.assert_close(x1[0], 4 * first[0])
    torch.testing.assert_close(x1[1], 20 * second[0] + 7)
    torch.testing.assert_close(y1[0], 3 * first[0]**2)
    assert y2 == {}


def test_every_detection_and_column_once(graph):
    features, raw, cut, outputs = graph
    source = DenseGradients(features, raw, cut)
    twice = torch.cat([outputs, outputs])
    found = [(g.detection, g.output) for g in source(twice, [4, 0])]
    assert sorted(found) == [(0, 'score'), (0, 'y2'), (1, 'score'), (1, 'y2')]
