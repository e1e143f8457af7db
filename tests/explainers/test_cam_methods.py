"""Grad-CAM and its kin."""
import copy

import numpy as np
import pytest
import torch
from families import (
    DETECTIONS,
    FAMILIES,
    batch_of,
    random_detector,
    random_image,
)
from linear import linear_trace
from naive import gradients_of

from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.grad_cam import plus_plus_weights
from mmdet_diffmap.tracing.detector import DetectorAdapter

from .cam_formulas import FORMULAS


def normalized(values):
    values = np.maximum(values, 0)
    return (values - values.min()) / (values.max() - values.min())


def of_linear_head(name, gradient, feature):
    """Make the heat map of a linear head with ``∂score/∂A`` as given."""
    gradients = torch.zeros(5, *gradient.shape, dtype=torch.float64)
    gradients[0] = torch.as_tensor(gradient)
    gradients[1:] = torch.randn(4, *gradient.shape)  # of the coordinates
    (heatmap, ) = build_explainer(name)(
        linear_trace(gradients, torch.as_tensor(feature)))
    return heatmap.numpy()


# two channels of 1 x 3 cells
GRADIENT = np.array([[[2., 0., -1.]], [[0., 4., 2.]]])
FEATURE = np.array([[[1., 2., 3.]], [[4., 5., 6.]]])
# worked out with pencil and paper, before ReLU and normalisation
BY_HAND = {
    # α = 1/3, 2
    'GradCAM': [1 / 3 + 8, 2 / 3 + 10, 1 + 12],
    # ΣA = 6, 15; a = 1/14, -, (g < 0); -, 1/62, 1/32; w = 1/7, 2/31 + 1/16
    'GradCAMPlusPlus': [
        1 / 7 + 4 * (2 / 31 + 1 / 16), 2 / 7 + 5 * (2 / 31 + 1 / 16),
        3 / 7 + 6 * (2 / 31 + 1 / 16)
    ],
    # S = 1, 0, 1/2; 0, 1, 1/2
    'SSGradCAM': [1 / 3 * 1 * 1, 2 * 1 * 5, 1 / 3 / 2 * 3 + 2 / 2 * 6],
    # ΣAS = 5/2, 8; a = 1/(2 + 5), -, -; -, 1/(2 + 32), 1/(1 + 16)
    # w = 2/7, 4/34 + 2/17
    'SSGradCAMPlusPlus': [
        2 / 7 * 1, 4 / 17 * 5, 2 / 7 * 3 / 2 + 4 / 17 * 6 / 2
    ],
    'LayerCAM': [2 * 1, 4 * 5, 2 * 6],
    'HiResCAM': [2 * 1, 4 * 5, -1 * 3 + 2 * 6],
    # w = (2 - 3) / 6, (20 + 12) / 15
    'XGradCAM': [
        -1 / 6 + 4 * 32 / 15, -2 / 6 + 5 * 32 / 15, -3 / 6 + 6 * 32 / 15
    ],
    # cells (2, 0), (0, 20), (-3, 12) without their mean (-1, 32) / 3 scatter
    # with [1, -2; -2, 16], whose first eigenvector is (-4, 15 + √241)
    'EigenGradCAM': [
        -4 * 7 - 32 * (15 + 241**.5), -4 * 1 + 28 * (15 + 241**.5),
        -4 * -8 + 4 * (15 + 241**.5)
    ],
}


@pytest.mark.parametrize('name', FORMULAS)
def test_by_hand(name):
    np.testing.assert_allclose(
        of_linear_head(name, GRADIENT, FEATURE)[0],
        normalized(np.array(BY_HAND[name])), atol=1e-12)


@pytest.mark.parametrize('name', FORMULAS)
def test_formula_with_a_linear_head(name):
    rng = np.random.default_rng(0)
    gradient, feature = rng.normal(size=(2, 4, 5, 6))
    gradient[1] = 0  # a channel that does not matter
    gradient[2, :, :3] = 0
    np.testing.assert_allclose(
        of_linear_head(name, gradient, feature),
        normalized(FORMULAS[name](gradient, feature)), atol=1e-9)


@pytest.fixture(
    scope='module', ids='-'.join,
    params=[(family, layer) for family in FAMILIES
            for layer in ('neck', 'backbone')])
def doubled(request):
    """In double precision, a target layer, the trace of it, and what backward
    passes through the uncut network give. All methods share it."""
    family, layer = request.param
    model = copy.deepcopy(random_detector(family)).double()
    data = batch_of(model, random_image(75, 130))

    def double(module, args, output):
        return dict(output, inputs=output['inputs'].double())

    model.data_preprocessor.register_forward_hook(double)
    trace = DetectorAdapter(model, layer).trace(data)
    return layer, trace.select(slice(DETECTIONS)), gradients_of(
        model, data, DETECTIONS, 1, layer)


@pytest.mark.parametrize('name', FORMULAS)
def test_equals_one_backward_per_detection(doubled, name):
    layer, trace, gradients = doubled

    def level_map(gradient, feature):
        return torch.from_numpy(
            FORMULAS[name](gradient.numpy(), feature.numpy()))

    expected = gradients.heatmaps(level_map)
    heatmaps = build_explainer(name, target_layer=layer)(trace)
    assert expected.amax() == 1
    torch.testing.assert_close(
        heatmaps, expected.to(heatmaps), rtol=0, atol=1e-6)


def test_means_count_the_zeros_around_a_window():
    """The gradient of a window and that of the whole level make one map."""
    model = random_detector('pvt')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(400, 400)))
    (gradients, ) = trace.select([0, 1]).gradients(['score'])
    for level in gradients.levels:
        whole = level.spread()
        assert level.gradients.shape != whole.gradients.shape
        for name in FORMULAS:
            explainer = build_explainer(name)
            torch.testing.assert_close(
                explainer.level_maps(level).spread().values,
                explainer.level_maps(whole).values, msg=name)


def test_small_gradients_do_not_vanish():
    """g² of 1e-25 is zero in single precision; the weight is not."""
    gradients = torch.tensor([[[[1e-25, 2e-25]]]])
    weights = plus_plus_weights(gradients, torch.tensor([[3.]]))
    torch.testing.assert_close(weights, torch.tensor([[1.5e-25]]), rtol=1e-5,
                               atol=0)


def test_a_vanishing_denominator_does_not_count():
    """2 g² + g³ ΣA is zero for g = 1 and ΣA = -2."""
    gradients = torch.tensor([[[[1., 2., 0.]]]])
    weights = plus_plus_weights(gradients, torch.tensor([[-2.]]))
    torch.testing.assert_close(weights, torch.tensor([[2 / (2 - 4)]]))
