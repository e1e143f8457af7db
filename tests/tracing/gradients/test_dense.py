import pytest
import torch
from torch import nn

from mmdet_diffmap.tracing.gradients import DenseGradients, Upstream
from mmdet_diffmap.tracing.target_layer import CapturedLayer
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients


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


def source(graph):
    features, raw, cut, _ = graph
    target = CapturedLayer(features, features)
    return Upstream(
        DenseGradients(nn.Identity(), features, raw, cut), features, target)


def gradients(graph):
    found = whole_gradients(source(graph)(graph[-1], range(5)))
    return [found.get((0, output), {}) for output in OUTPUTS]


def test_paths_through_and_past_the_head(graph):
    (first, second), _, _, _ = graph
    score, x1, y1, _, y2 = gradients(graph)
    torch.testing.assert_close(score[0], 12 * first[0])
    torch.testing.assert_close(x1[0], 4 * first[0])
    torch.testing.assert_close(x1[1], 20 * second[0] + 7)
    torch.testing.assert_close(y1[0], 3 * first[0]**2)
    assert not any(gradient.any() for gradient in y2.values())


def test_every_detection_and_column_once(graph):
    outputs = graph[-1]
    twice = torch.cat([outputs, outputs])
    found = [(detection, gradients.output)
             for gradients in source(graph)(twice, [4, 0])
             for detection in {
                 detection for level in gradients.levels
                 for detection in level.windows.detections}]
    assert sorted(found) == [(0, 'score'), (0, 'y2'), (1, 'score'), (1, 'y2')]


def test_many_outputs_that_depend_on_nothing(graph):
    """As coordinates do that are clipped at the image's edge."""
    features, raw, cut, outputs = graph
    clipped = (outputs * 0).expand(40, 5)
    assert not list(DenseGradients(nn.Identity(), features, raw, cut)(
        clipped, range(5)))
