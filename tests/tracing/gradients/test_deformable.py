"""Deformable attention whose backward pass is sparse, against mmcv's."""
import pytest
import torch
from mmcv.ops import multi_scale_deform_attn as host

from mmdet_diffmap.lab.speed.operations import OperationCounter
from mmdet_diffmap.tracing.gradients import sparse_deformable_attention

pytestmark = pytest.mark.skipif(not torch.backends.mkl.is_available(),
                                reason='torch has no MKL')


@pytest.mark.parametrize('batch, queries, heads, channels, points', [
    (1, 7, 2, 3, 4), (2, 3, 1, 4, 1), (1, 1, 8, 32, 4), (2, 9, 2, 3, 2)])
def test_values_are_mmcvs_and_gradients_those_of_autograd(
        batch, queries, heads, channels, points):
    """Also of samples at borders and outside of a level, and of a level of
    one cell."""
    torch.manual_seed(0)
    grids = torch.tensor([[5, 7], [3, 4], [1, 1]])
    tokens = torch.randn(batch, int(grids.prod(dim=1).sum()), heads, channels,
                         dtype=torch.double)
    places = torch.rand(batch, queries, heads, 3, points, 2,
                        dtype=torch.double) * 1.6 - 0.3
    places[0, 0, 0, 0, 0] = torch.tensor([-4., 9.])
    weights = torch.randn(batch, queries, heads, 3, points,
                          dtype=torch.double)
    leaves = [each.requires_grad_() for each in (tokens, places, weights)]

    def run():
        return host.multi_scale_deformable_attn_pytorch(
            leaves[0], grids, *leaves[1:])

    expected = run()
    with sparse_deformable_attention():
        found = run()
    assert torch.equal(found, expected)
    few = torch.zeros_like(expected)
    few[:, queries // 2] = torch.randn_like(few[:, 0])
    # what is kept for further passes is not changed
    for cotangent in (torch.randn_like(expected), few,
                      torch.zeros_like(expected), torch.randn_like(expected)):
        for ours, theirs in zip(*(
                torch.autograd.grad(output, leaves, cotangent,
                                    retain_graph=True)
                for output in (found, expected))):
            torch.testing.assert_close(ours, theirs)


def test_samples_at_places_that_are_constant():
    """As in a decoder's first layer, whose queries see no features."""
    torch.manual_seed(0)
    tokens = torch.randn(1, 12, 2, 3).double().requires_grad_()
    constants = (torch.tensor([[3, 4]]),
                 torch.rand(1, 5, 2, 1, 4, 2).double(),
                 torch.rand(1, 5, 2, 1, 4).double())
    expected = host.multi_scale_deformable_attn_pytorch(tokens, *constants)
    with sparse_deformable_attention():
        found = host.multi_scale_deformable_attn_pytorch(tokens, *constants)
    of_one_query = torch.zeros_like(expected)
    of_one_query[:, 3] = 2
    for cotangent in torch.randn_like(expected), of_one_query:
        with OperationCounter() as counter:
            (ours, ) = torch.autograd.grad(found, tokens, cotangent,
                                           retain_graph=True)
        assert not any('addcmul' in name for name in counter.counts)
        (theirs, ) = torch.autograd.grad(expected, tokens, cotangent,
                                         retain_graph=True)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('wanted', [0, 1])
def test_places_or_weights_that_are_constant(wanted):
    torch.manual_seed(0)
    grids = torch.tensor([[3, 4]])
    tokens = torch.randn(1, 12, 2, 3).double()
    samples = [torch.rand(1, 5, 2, 1, 4, 2).double(),
               torch.rand(1, 5, 2, 1, 4).double()]
    samples[wanted].requires_grad_()
    expected = host.multi_scale_deformable_attn_pytorch(
        tokens, grids, *samples)
    with sparse_deformable_attention():
        found = host.multi_scale_deformable_attn_pytorch(
            tokens, grids, *samples)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(*(
        torch.autograd.grad(output, samples[wanted], cotangent)[0]
        for output in (found, expected)))


def test_other_devices_take_mmcvs_way():
    with sparse_deformable_attention():
        output = host.multi_scale_deformable_attn_pytorch(
            torch.zeros(1, 12, 2, 3, device='meta', requires_grad=True),
            torch.tensor([[3, 4]]),
            torch.zeros(1, 5, 2, 1, 4, 2, device='meta'),
            torch.zeros(1, 5, 2, 1, 4, device='meta'))
    assert 'Deformable' not in output.grad_fn.name()


@pytest.mark.parametrize('number', range(3))
def test_what_was_changed_in_place_is_an_error(number):
    """As with functions of torch that need it on the way back."""
    torch.manual_seed(0)
    values = [torch.randn(1, 12, 2, 3), torch.rand(1, 5, 2, 1, 4, 2),
              torch.rand(1, 5, 2, 1, 4)]
    given = [each.requires_grad_() * 1 for each in values]
    with sparse_deformable_attention():
        output = host.multi_scale_deformable_attn_pytorch(
            given[0], torch.tensor([[3, 4]]), *given[1:])
    given[number].mul_(2)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        torch.autograd.grad(output.sum(), values)


def test_the_function_of_mmcv_is_put_back():
    before = host.multi_scale_deformable_attn_pytorch
    with sparse_deformable_attention():
        assert host.multi_scale_deformable_attn_pytorch is not before
    assert host.multi_scale_deformable_attn_pytorch is before
