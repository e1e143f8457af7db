import pytest
import torch
from torch import nn

from mmdet_diffmap.lab.speed.operations import OperationCounter
from mmdet_diffmap.tracing.gradients import fused_attention
from mmdet_diffmap.tracing.gradients.products import vector_products


@pytest.fixture
def attention():
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(16, 4)
    nn.init.normal_(layer.in_proj_weight)
    return layer.double().eval()


INPUTS = [torch.linspace(-2, 2, length * 32).double().sin().view(length, 2, 16)
          for length in (5, 9, 9)]
PADDING = torch.zeros(2, 9, dtype=torch.bool)
PADDING[1, 6:] = True


@pytest.mark.parametrize('options', [
    dict(), dict(key_padding_mask=PADDING),
    dict(attn_mask=torch.eye(5, 9).double() * 3),
    dict(need_weights=False)])
def test_values_are_the_same_bits_and_gradients_the_same(attention, options):
    inputs = [one.clone().requires_grad_() for one in INPUTS]
    exact, weights = attention(*inputs, **options)
    with fused_attention(attention):
        fused, same_weights = attention(*inputs, **options)
    assert torch.equal(fused, exact)
    if weights is None:
        assert same_weights is None
    else:
        assert torch.equal(same_weights, weights)
    of_one_query = torch.zeros_like(exact)
    of_one_query[3, :, 5] = 2
    for cotangent in (torch.randn_like(exact), of_one_query,
                      torch.zeros_like(exact)):
        for ours, expected in zip(*(
                torch.autograd.grad(output, inputs, cotangent,
                                    retain_graph=True)
                for output in (fused, exact))):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('options', [
    dict(), dict(key_padding_mask=PADDING),
    dict(attn_mask=torch.eye(5, 9).double() * 3)])
def test_several_products_are_one_pass_of_the_fused_kernel(attention, options):
    inputs = [one.clone().requires_grad_() for one in INPUTS]
    exact, _ = attention(*inputs, **options)
    with fused_attention(attention):
        fused, _ = attention(*inputs, **options)
    assert not attention._forward_hooks
    cotangents = torch.randn(3, *exact.shape).double()
    with OperationCounter() as counter:
        products = vector_products([fused], inputs, [cotangents])
    kernels = [name for name in counter.counts
               if 'attention' in name and 'backward' in name]
    assert [counter.counts[name] for name in kernels] == [1]
    assert not any('softmax' in name for name in counter.counts)
    for number, cotangent in enumerate(cotangents):
        expected = torch.autograd.grad(
            exact, inputs, cotangent, retain_graph=True)
        torch.testing.assert_close([each[number] for each in products],
                                   list(expected), rtol=1e-9, atol=1e-12)


def test_nothing_is_done_where_nothing_is_recorded(attention):
    with torch.no_grad(), fused_attention(attention):
        output, _ = attention(*INPUTS)
    assert not output.requires_grad
