import numpy as np
import pytest
import torch
from families import FAMILIES, trace_of
from linear import linear_trace

from mmdet_diffmap.explainers import build_explainer, eigen_cam
from mmdet_diffmap.explainers.eigen_cam import first_component
from mmdet_diffmap.explainers.explainer import JOINT
from mmdet_diffmap.explainers.feature_explainer import reached_levels
from mmdet_diffmap.maps.windows import Windows
from mmdet_diffmap.tracing.level_gradients import LevelGradients, LevelWindows

from .cam_formulas import projection


def test_component_is_that_of_the_svd():
    torch.manual_seed(0)
    values = torch.randn(3, 4, 5, 6, dtype=torch.double) + 1
    projected, outside = first_component(values, 30)
    for each, shift, one in zip(projected, outside, values):
        np.testing.assert_allclose(each + shift, projection(one.numpy()))


def test_sign_is_that_of_the_sum_over_the_channels():
    torch.manual_seed(0)
    values = torch.randn(20, 4, 5, 6, dtype=torch.double)
    projected, outside = first_component(values, 30)
    centred = projected + outside[:, None, None]
    torch.testing.assert_close(
        centred.sum(dim=(1, 2)), torch.zeros(20, dtype=torch.double))
    assert ((centred * values.sum(dim=1)).sum(dim=(1, 2)) > 0).all()


def test_values_of_the_other_sign_have_the_other_projection():
    values = torch.rand(3, 4, 5, 6)
    for one, other in zip(first_component(values, 40),
                          first_component(-values, 40)):
        torch.testing.assert_close(one, -other)


def in_windows(count=30):
    """Random gradients in windows, of which some reach over the border."""
    torch.manual_seed(0)
    feature = torch.randn(3, 5, 6)
    corners = tuple((number % 7 - 2, number % 8 - 2)
                    for number in range(count))
    windows = Windows(0, (5, 6), tuple(range(count)), corners, (3, 4),
                      feature.device)
    gradients = torch.randn(count, 3, 3, 4) * windows.inside[:, None]
    return LevelGradients(gradients, LevelWindows(feature, windows))


def test_windows_give_the_maps_of_whole_levels():
    """Outside of a window the map may be positive."""
    level = in_windows()
    whole = level.spread()
    explainer = build_explainer('eigen-grad-cam')
    maps = explainer.level_maps(level)
    assert maps.windows.are_whole and (maps.values >= 0).all()
    torch.testing.assert_close(
        maps.values, explainer.level_maps(whole).values)
    expected = [
        np.maximum(projection(gradient * whole.feature.numpy()), 0)
        for gradient in whole.gradients.numpy()
    ]
    np.testing.assert_allclose(maps.values, expected, atol=1e-5)
    inside = level.windows.spread(torch.ones(30, 3, 4)) > 0
    outside = [values[~own] for values, own in zip(maps.values, inside)]
    assert any((values > 0).all() for values in outside)
    assert any((values == 0).all() for values in outside)


def test_few_at_a_time_give_the_same(monkeypatch):
    level = in_windows()
    explainer = build_explainer('eigen-grad-cam')
    expected = explainer.level_maps(level).values
    parts = []

    def noted(values, cells):
        parts.append(len(values))
        return first_component(values, cells)

    monkeypatch.setattr(eigen_cam, 'first_component', noted)
    # seven products of 3 x 3 x 4 and matrices of 3 x 3, and a bit
    monkeypatch.setattr(eigen_cam, 'MEMORY_BUDGET', 7 * 8 * 3 * 33 + 100)
    torch.testing.assert_close(explainer.level_maps(level).values, expected)
    assert parts == [7, 7, 7, 7, 2]


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('layer', ['neck', 'backbone'])
def test_all_detections_of_a_level_have_its_map(family, layer):
    trace = trace_of(family, layer)
    explainer = build_explainer('eigen-cam', target_layer=layer)
    maps = explainer.maps(trace, by_output=True)
    torch.testing.assert_close(explainer(trace), maps.heatmaps, rtol=0,
                               atol=0)
    seen = set()
    for level in maps.grids[JOINT]:
        expected = projection(trace.features[level.windows.level].numpy())
        for values in level.values:
            np.testing.assert_allclose(values, expected.clip(0), rtol=1e-3,
                                       atol=1e-4 * expected.max())
        seen |= set(level.windows.detections)
    assert seen == set(range(len(trace)))


def test_levels_are_those_with_a_gradient():
    trace = trace_of('fcos', 'backbone')
    expected = {}
    for gradients in trace.gradients(('score', )):
        for level in gradients.levels:
            for detection, gradient in zip(level.windows.detections,
                                           level.gradients):
                if gradient.any():
                    expected.setdefault(level.windows.level,
                                        []).append(detection)
    found = reached_levels(trace)
    assert found == {level: sorted(detections)
                     for level, detections in expected.items()}
    assert len(found) > 1


def test_level_without_a_gradient_is_not_shown():
    feature = torch.rand(3, 4, 5)
    gradients = torch.zeros(5, 3, 4, 5)
    explainer = build_explainer('eigen-cam')
    assert not explainer(linear_trace(gradients, feature)).any()
    gradients[0, 1, 2, 3] = 1e-20  # of the score
    assert explainer(linear_trace(gradients, feature)).any()


def test_difference_map_of_one_level_is_empty():
    """Of DETR, all of whose detections come from one map."""
    trace = trace_of('detr')
    assert len(trace) > 1 and len(trace.features) == 1
    assert build_explainer('eigen-cam')(trace).any()
    assert not build_explainer('eigen-cam-diff')(trace).any()
    levels = trace_of('fcos')  # whose detections come from two
    assert len(reached_levels(levels)) == 2
    assert build_explainer('eigen-cam-diff')(levels).any()


def test_statistics_do_not_matter_but_for_the_run_of_the_detector():
    with pytest.raises(ValueError, match='exact or frozen, not approximate'):
        build_explainer('eigen-cam', statistics='approximate')
    explainer = build_explainer('eigen-cam', statistics='frozen')
    assert explainer.statistics == 'frozen'
    torch.testing.assert_close(
        explainer(trace_of('fcos')),
        build_explainer('eigen-cam')(trace_of('fcos')), rtol=0, atol=0)


@pytest.mark.parametrize('method', ['eigen-cam', 'eigen-grad-cam'])
def test_features_that_overflow(method):
    feature = torch.rand(3, 4, 5)
    feature[0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match='is not finite'):
        build_explainer(method)(
            linear_trace(torch.ones(5, 3, 4, 5), feature))


def test_large_and_small_features_have_the_same_map():
    """Squares of them would leave single precision."""
    torch.manual_seed(0)
    feature, gradients = torch.randn(3, 4, 5), torch.randn(5, 3, 4, 5)
    for method in 'eigen-cam', 'eigen-grad-cam':
        plain, large, small = (
            build_explainer(method)(linear_trace(gradients, size * feature))
            for size in (1, 1e25, 1e-25))
        assert plain.amax() == 1
        torch.testing.assert_close(large, plain)
        torch.testing.assert_close(small, plain)
