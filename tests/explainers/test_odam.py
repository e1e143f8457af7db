from dataclasses import replace

import numpy as np
import pytest
import torch
from families import (
    DETECTIONS,
    FAMILIES,
    SIZE,
    batch_of,
    random_detector,
    random_image,
    trace_of,
)
from linear import linear_trace
from naive import odam as naive_odam
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.explainers.odam import smooth
from mmdet_diffmap.maps.windows import Windows
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.level_gradients import LevelGradients, LevelWindows
from mmdet_diffmap.tracing.trace import OUTPUTS, OutputGradients


@pytest.mark.parametrize('size', [SIZE, (131, 61)])
@pytest.mark.parametrize('family', FAMILIES)
def test_equals_one_backward_per_output(family, size):
    model = random_detector(family)
    data = batch_of(model, random_image(*size))
    results, expected = naive_odam(model, data, DETECTIONS)
    trace = DetectorAdapter(model).trace(data).select(slice(DETECTIONS))
    heatmaps = ODAM()(trace)
    assert len(trace) == len(results) == DETECTIONS
    torch.testing.assert_close(
        trace.detections.bboxes, results.bboxes.detach(), rtol=0, atol=1e-4)
    assert expected.amax() == 1
    torch.testing.assert_close(heatmaps, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('tolerance', [0, 0.002, 0.1])
def test_maps_are_within_their_tolerance(tolerance):
    """Of a detector whose head has GroupNorm."""
    model = random_detector('fcos')
    data = batch_of(model, random_image(*SIZE))
    _, expected = naive_odam(model, data, DETECTIONS)
    heatmaps = ODAM(tolerance=tolerance)(trace_of('fcos'))
    torch.testing.assert_close(heatmaps, expected, rtol=0,
                               atol=max(1e-5, tolerance))


def test_boxes_in_double_precision():
    """As CrowdDet gives them, beside features in single precision."""
    trace = trace_of('yolox')
    with torch.enable_grad():
        doubled = replace(trace, outputs=trace.outputs.double())
    heatmaps = ODAM()(doubled)
    assert heatmaps.dtype == torch.float32
    torch.testing.assert_close(heatmaps, ODAM()(trace), rtol=0, atol=1e-5)


@pytest.mark.parametrize('tolerance', [-0.1, 1, float('nan')])
def test_a_tolerance_is_a_share(tolerance):
    with pytest.raises(ValueError, match='tolerance must be 0 or more, and'):
        ODAM(tolerance=tolerance)


@pytest.mark.parametrize('family', FAMILIES)
def test_layer_with_paths_through_several_levels(family):
    model = random_detector(family)
    _, expected = naive_odam(
        model, batch_of(model, random_image(*SIZE)), DETECTIONS, 'backbone')
    heatmaps = ODAM()(trace_of(family, 'backbone'))
    torch.testing.assert_close(heatmaps, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return (torch.randn(5, 3, 6, 7, dtype=torch.float64),
            torch.randn(3, 6, 7, dtype=torch.float64))


def normalized(maps):
    return (maps - maps.min()) / (maps.max() - maps.min())


def expected_map(gradient, feature, each=lambda output_map: output_map):
    """Eq. 2 and 3 in numpy."""
    product = (gradient.numpy() * feature.numpy()).sum(axis=1)
    return normalized(np.max([each(m) for m in np.maximum(product, 0)], 0))


def run(trace, **options):
    (heatmap, ) = ODAM(**options)(trace)
    return heatmap.numpy()


def test_linear_head_by_hand(linear):
    assert_allclose(
        run(linear_trace(*linear)), expected_map(*linear), atol=1e-12)


@pytest.mark.parametrize('column, output', enumerate(OUTPUTS))
def test_single_outputs(linear, column, output):
    gradient, feature = linear
    assert_allclose(
        run(linear_trace(*linear), outputs=[output]),
        expected_map(gradient[column:column + 1], feature), atol=1e-12)


def test_outputs_are_normalized_on_demand(linear):
    gradient, feature = linear
    gradient = gradient * torch.tensor([1., 1e3, 10, 10, 10])[:, None, None,
                                                              None]
    assert_allclose(
        run(linear_trace(gradient, feature), normalize_outputs=True),
        expected_map(gradient, feature, normalized), atol=1e-12)


def test_extents_turn_the_left_and_top_sides_round(linear):
    gradient, feature = linear
    turned = gradient * torch.tensor([1., -1, -1, 1, 1])[:, None, None, None]
    assert_allclose(
        run(linear_trace(gradient, feature), extents=True),
        expected_map(turned, feature), atol=1e-12)
    assert np.abs(expected_map(turned, feature) -
                  expected_map(gradient, feature)).max() > 0.1


@pytest.mark.parametrize('sigma', [0.5, 1.0])
def test_smoothing_is_a_gaussian_of_the_gradient(linear, sigma):
    gradient, feature = linear
    radius = round(3 * sigma)
    smoothed = gaussian_filter(
        gradient.numpy(), (0, 0, sigma, sigma), mode='mirror',
        radius=(0, 0, radius, radius))
    assert_allclose(
        run(linear_trace(gradient, feature), smoothing=sigma),
        expected_map(torch.from_numpy(smoothed), feature), atol=1e-6)


def test_wide_smoothing_of_a_small_level():
    gradient = torch.rand(3, 2, 1)
    assert smooth(gradient, 5.).shape == gradient.shape


def test_window_of_a_gradient_is_enough(linear):
    """The map from a window is that of the whole gradient, smoothed too."""
    gradient, feature = linear
    gradient[:, :, :2], gradient[:, :, 5:], gradient[..., 3:] = 0, 0, 0

    where = LevelWindows(feature, Windows(
        0, tuple(feature.shape[1:]), (0, ), ((2, 0), ), (3, 3),
        feature.device))

    def windows(outputs, columns, tolerance):
        for column in columns:
            yield OutputGradients(OUTPUTS[column], [
                LevelGradients(gradient[column, None, :, 2:5, :3], where)])

    whole = linear_trace(gradient, feature)
    window = replace(whole, source=windows)
    for options in (dict(), dict(smoothing=0.7), dict(normalize_outputs=True)):
        assert_allclose(
            run(window, **options), run(whole, **options), atol=1e-12)


def test_output_without_any_path(linear):
    gradient, feature = linear
    trace = linear_trace(gradient, feature)
    empty = replace(trace, source=lambda outputs, columns, tolerance: iter(()))
    assert not run(empty).any()
