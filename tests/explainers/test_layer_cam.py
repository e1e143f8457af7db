"""LayerCAM, HiResCAM, XGrad-CAM: what they share with other methods."""
import pytest
import torch
from families import FAMILIES, trace_of

from mmdet_diffmap import difference_map
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.grad_cam import share_weights
from mmdet_diffmap.tracing.level_gradients import LevelGradients, LevelWindows

#: Of which maps are made of gradients.
METHODS = ('layer-cam', 'hires-cam', 'xgrad-cam', 'eigen-grad-cam')


def whole_level(gradients, feature):
    return LevelGradients(gradients, LevelWindows.whole_level(
        0, feature, range(len(gradients))))


@pytest.mark.parametrize('family', FAMILIES)
def test_hires_cam_is_odam_of_the_score(family):
    trace = trace_of(family)
    expected = build_explainer('odam', outputs='score')(trace)
    assert expected.any()
    torch.testing.assert_close(
        build_explainer('hires-cam')(trace), expected, rtol=0, atol=0)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('tolerance', [0.002, 0.1])
def test_maps_are_within_their_tolerance(method, tolerance):
    """Of a detector whose head has GroupNorm."""
    trace = trace_of('fcos')
    exact, maps = (build_explainer(method, tolerance=share)(trace)
                   for share in (0, tolerance))
    assert exact.amax(dim=(1, 2)).tolist() == [1] * len(trace)
    torch.testing.assert_close(maps, exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize('method', METHODS)
def test_what_the_tolerance_is_measured_by_is_linear(method):
    explainer = build_explainer(method)
    torch.manual_seed(0)
    feature = torch.randn(4, 5, 6, dtype=torch.double)
    first, second = torch.randn(2, 3, 4, 5, 6, dtype=torch.double)

    def maps(gradients):
        return explainer.linear_maps(whole_level(gradients, feature), 'score')

    assert maps(first).shape == (3, 5, 6) and maps(first).any()
    torch.testing.assert_close(
        maps(2 * first - second), 2 * maps(first) - maps(second))


@pytest.mark.parametrize('method', ['hires-cam', 'xgrad-cam'])
def test_maps_are_what_is_linear_without_its_negative_part(method):
    explainer = build_explainer(method)
    for gradients in trace_of('fcos').gradients(('score', )):
        for level in gradients.levels:
            maps = explainer.linear_maps(level, 'score')
            assert (maps < 0).any() and (maps > 0).any()
            torch.testing.assert_close(
                explainer.level_maps(level).values, maps.relu())


@pytest.mark.parametrize('method', METHODS)
def test_difference_maps(method):
    trace = trace_of('pvt')
    maps = build_explainer(f'{method}-diff')(trace)
    assert (maps < 0).any() and (maps > 0).any()
    torch.testing.assert_close(
        maps, difference_map(build_explainer(method)(trace)), rtol=0, atol=0)


def test_xgrad_cam_conserves_the_sum_of_products():
    """Whatever signs the features have."""
    torch.manual_seed(0)
    gradients = torch.randn(3, 4, 5, 6, dtype=torch.double)
    feature = torch.randn(4, 5, 6, dtype=torch.double)
    level = whole_level(gradients, feature)
    maps = torch.einsum('nk,khw->nhw', share_weights(level), feature)
    torch.testing.assert_close(
        maps.sum(dim=(1, 2)), (gradients * feature).sum(dim=(1, 2, 3)))


@pytest.mark.parametrize('size', [1e-20, 1, 1e20])
def test_xgrad_cam_without_what_is_rounding(size):
    """Of a channel whose sum is zero but for rounding; how large features are
    does not matter."""
    cells = torch.tensor([.1, .2, -.3, 3.])
    feature = size * torch.stack([cells[:3], cells[1:]])[:, None]
    assert feature[0].double().sum() != 0
    weights = share_weights(whole_level(torch.ones(1, 2, 1, 3), feature))
    torch.testing.assert_close(weights, torch.tensor([[0., 1.]]))


def test_windows_of_a_detector_are_given_as_windows():
    """So that maps which are zero outside of them stay small."""
    for gradients in trace_of('yolox').gradients(('score', )):
        for level in gradients.levels:
            for method in 'layer-cam', 'hires-cam':
                maps = build_explainer(method).level_maps(level)
                assert maps.windows == level.windows
