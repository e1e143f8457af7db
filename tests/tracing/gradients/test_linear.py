"""Linear layers that multiply what is not zero, against torch's own."""
import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.dense_heads.gfl_head import Integral
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_diffmap.tracing.gradients import fused_attention, linear
from mmdet_diffmap.tracing.gradients import sparse_linear as sparse
from mmdet_diffmap.tracing.gradients.products import vector_products
from mmdet_diffmap.tracing.modes import frozen

QUERIES = 40


@pytest.fixture(autouse=True)
def every_layer_is_large(monkeypatch):
    monkeypatch.setattr(linear, 'WORTH_A_FUNCTION', 0)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(6, 5).double().requires_grad_(False)


def cotangents_of(output):
    """One that is zero nowhere, some with few rows, and zero."""
    yield torch.randn_like(output)
    for row in (0, 17, QUERIES - 1):
        few = torch.zeros_like(output)
        few.flatten(0, -2)[row, 2] = -3
        yield few
    yield torch.zeros_like(output)


@pytest.mark.parametrize('shape', [(QUERIES, 6), (2, QUERIES // 2, 6),
                                   (QUERIES, 1, 6)])
def test_values_are_torchs_and_gradients_those_of_autograd(layer, shape):
    leaf = torch.randn(shape).double().requires_grad_()
    expected = layer(leaf)
    with sparse():
        found = layer(leaf)
    assert F.linear is linear.linear
    assert torch.equal(found, expected)
    assert found.grad_fn.name() == 'LinearBackward'
    for cotangent in cotangents_of(expected):
        ours, theirs = (torch.autograd.grad(
            output, leaf, cotangent, retain_graph=True)[0]
            for output in (found, expected))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_several_products_are_one_pass(layer):
    leaf = torch.randn(1, QUERIES, 6).double().requires_grad_()
    with sparse():
        output = layer(leaf)
    cotangents = torch.stack([*cotangents_of(output)])
    (products, ) = vector_products([output], [leaf], [cotangents])
    torch.testing.assert_close(products, cotangents @ layer.weight)


@pytest.mark.parametrize('case', ['trained weight', 'trained bias', 'small'])
def test_other_layers_are_torchs(layer, case, monkeypatch):
    leaf = torch.randn(QUERIES, 6).double().requires_grad_()
    if case == 'small':
        monkeypatch.setattr(linear, 'WORTH_A_FUNCTION', QUERIES * 6 * 5 + 1)
    else:
        getattr(layer, case.split()[1]).requires_grad_()
    with sparse():
        output = layer(leaf)
    assert output.grad_fn.name() == 'AddmmBackward0'


def test_a_layer_of_the_smallest_size_is_a_function(layer, monkeypatch):
    monkeypatch.setattr(linear, 'WORTH_A_FUNCTION', QUERIES * 6 * 5)
    leaf = torch.randn(QUERIES, 6).double().requires_grad_()
    with sparse():
        assert layer(leaf).grad_fn.name() == 'LinearBackward'
        assert layer(leaf[0]).grad_fn.name() != 'LinearBackward'


def test_no_graph_and_mixed_precision(layer):
    leaf = torch.randn(QUERIES, 6).requires_grad_()
    layer.float()

    def run():
        with torch.autocast('cpu', torch.bfloat16):
            return layer(leaf)

    expected = run()
    with sparse():
        found = run()
        with torch.no_grad():
            assert torch.equal(run(), expected) and not run().requires_grad
    assert torch.equal(found, expected)
    for cotangent in cotangents_of(expected):
        ours, theirs = (torch.autograd.grad(
            output, leaf, cotangent, retain_graph=True)[0]
            for output in (found, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)


def test_rows_of_zeros_are_not_multiplied(layer):
    leaf = torch.randn(QUERIES, 6).double().requires_grad_()
    with sparse():
        output = layer(leaf)
    dense, *few, zero = (multiplications(output, leaf, cotangent)
                         for cotangent in cotangents_of(output))
    assert dense == QUERIES * few[0] > few[0] > zero == 0
    assert set(few) == {few[0]}


def multiplications(output, leaf, cotangent):
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(output, leaf, cotangent, retain_graph=True)
    return counter.get_total_flops()


def test_a_vector_of_weights():
    """As in GFL, whose sides of boxes are means over a distribution."""
    torch.manual_seed(0)
    integral = Integral(3)
    leaf = torch.randn(QUERIES, 16).requires_grad_()
    expected = integral(leaf)
    with sparse():
        found = integral(leaf)
    assert torch.equal(found, expected)
    for cotangent in cotangents_of(expected):
        ours, theirs = (torch.autograd.grad(
            output, leaf, cotangent, retain_graph=True)[0]
            for output in (found, expected))
        assert torch.equal(ours, theirs)


def test_what_is_changed_in_place_is_no_copy(layer):
    """Also where the host reads the changed tensor once more."""

    def run():
        hidden = layer(leaf)
        return F.relu(hidden, inplace=True) * hidden

    leaf = torch.randn(1, QUERIES, 6).double().requires_grad_()
    expected = run()
    with sparse():
        found = run()
        hidden = layer(leaf)
    assert not hidden._is_view()
    assert F.relu_(hidden).grad_fn.name() == 'ReluBackward0'
    assert torch.equal(found, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(*(
        torch.autograd.grad(output, leaf, cotangent)[0]
        for output in (found, expected)), rtol=0, atol=1e-12)


class Decoder(nn.Module):
    """Two layers, and a prediction for the queries after each of them, as in
    DETR's kin."""

    def __init__(self):
        super().__init__()
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(2))
        self.feedforward = nn.ModuleList(
            FFN(16, 64, ffn_drop=0.) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.boxes = nn.Sequential(
            nn.Linear(16, 16), nn.ReLU(inplace=True), nn.Linear(16, 4))

    def forward(self, queries):
        boxes = []
        for attend, feed, norm in zip(self.attention, self.feedforward,
                                      self.norms):
            queries = norm(queries + attend(queries, queries, queries)[0])
            queries = feed(queries)
            boxes.append(self.boxes(queries))
        return torch.stack(boxes)


def test_queries_of_a_decoder():
    """Each query's gradients are those of autograd, in a fraction of the
    multiplications."""
    torch.manual_seed(0)
    decoder = Decoder().double().eval()
    leaf = torch.randn(1, QUERIES, 16).double().requires_grad_()
    with frozen(decoder):
        expected = decoder(leaf)
        with fused_attention(decoder), sparse():
            found = decoder(leaf)
    assert torch.equal(found, expected)
    multiplications = []
    for output in (found, expected):
        with FlopCounterMode(display=False) as counter:
            gradients = [torch.autograd.grad(
                output[-1, 0, query, 1], leaf, retain_graph=True)[0]
                for query in range(0, QUERIES, 9)]
        multiplications.append(counter.get_total_flops())
        if output is found:
            ours = gradients
    for one, other in zip(ours, gradients):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert multiplications[0] < 0.6 * multiplications[1]
