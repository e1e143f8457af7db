"""What binary masks were, by hand."""
import math
import operator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads import fcn_mask_head
from mmengine.structures import InstanceData

from mmdet_diffmap.tracing.class_scores import logits_of
from mmdet_diffmap.tracing.heads.attached import Attached
from mmdet_diffmap.tracing.mask_values import MaskValues


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(4, 6, 8, requires_grad=True)


def gradient(value, leaf):
    return torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0]


def expected_gradient(values, masks, leaf, rows):
    """One backward pass for the mean of each row's values in its mask."""
    return gradient(torch.stack([values[row][masks[row]].mean()
                                 for row in rows]), leaf)


@pytest.mark.parametrize('threshold', [0, 0.3, torch.tensor(-0.2)])
def test_compared_numbers_are_picked_as_masks_are(logits, threshold):
    order = torch.tensor([2, 0, 3])
    with MaskValues().listening() as values:
        masks = logits > threshold
        picked = InstanceData(masks=masks)[order][1:].masks
        picked = torch.cat([picked.float(), masks[:1].float()]).bool()
        real = values.of(picked)
    found = real.mean_logits(picked)
    rows = [0, 3, 0]
    assert torch.equal(picked, (logits > threshold)[rows])
    assert torch.allclose(found, torch.stack([
        logits[row][logits[row] > threshold].mean() for row in rows]))
    assert torch.allclose(
        gradient(found, logits),
        expected_gradient(logits, logits > threshold, logits, rows))


def test_logits_of_a_plain_sigmoid_are_its_own(logits):
    large = logits * 40  # probabilities are 0 and 1 to the last bit
    with MaskValues().listening() as values:
        probabilities = large.sigmoid()[None][:, :2].squeeze(0)
        masks = probabilities > 0.7
        real = values.of(masks)
    assert real.are_logits
    assert real.threshold == pytest.approx(math.log(0.7 / 0.3))
    found = real.mean_logits(masks)
    assert torch.allclose(gradient(found, logits), expected_gradient(
        large, large > math.log(0.7 / 0.3), logits, range(2)))


def test_logits_of_resized_probabilities(logits):
    with MaskValues().listening() as values:
        resized = F.interpolate(logits.sigmoid()[None], scale_factor=2,
                                mode='bilinear')[0]
        masks = resized > 0.5
        real = values.of(masks)
    found = real.mean_logits(masks)
    assert torch.allclose(gradient(found, logits), expected_gradient(
        torch.logit(resized), masks, logits, range(4)), atol=1e-6)


def test_saturated_probabilities_have_finite_logits():
    leaf = torch.tensor([-200., 0., 200.], requires_grad=True)
    assert leaf.sigmoid().tolist() == [0, .5, 1]
    found = logits_of(leaf.sigmoid())
    assert found.isfinite().all() and found[1] == 0
    assert torch.equal(gradient(found, leaf), torch.tensor([0., 1., 0.]))


def test_an_empty_mask_has_the_output_0_and_no_gradient(logits):
    with MaskValues().listening() as values:
        masks = logits > torch.tensor(100.)
        found = values.of(masks).mean_logits(masks)
    assert torch.equal(found, torch.zeros(4))
    assert not gradient(found, logits).any()


def test_what_was_not_compared_is_not_known(logits):
    with MaskValues().listening() as values:
        assert values.of(logits.detach() > 0) is None  # of a constant
        assert values.of((logits > 0) & (logits < 1)) is None
        assert values.of(torch.cat([logits > 0, logits.detach() > 0])) is None
    assert fcn_mask_head._do_paste_mask.__module__ == fcn_mask_head.__name__


@pytest.mark.parametrize('boxes', [
    [[1., 1, 9, 9], [4., 2, 30, 25]],
    [[1., 1, 9, 9], [100., 2, 130, 25]],  # outside, where mmdet fails
])
def test_grids_are_known_that_are_pasted_row_by_row(logits, boxes):
    grids = logits[:2, None].sigmoid()
    boxes = torch.tensor(boxes)
    with MaskValues().listening() as values:
        masks = torch.zeros(2, 30, 40, dtype=torch.bool)
        for row in (1, 0):
            rows = torch.tensor([row])
            pasted, place = fcn_mask_head._do_paste_mask(
                grids[rows], boxes[rows], 30, 40, skip_empty=True)
            masks[(rows, ) + place] = (pasted >= 0.5).to(dtype=torch.bool)
        real = values.of(masks)
        assert torch.equal(values.of(masks[[1, 0]]).values,
                           real.values[[1, 0]])
    assert real.pasted and masks[0].any()
    assert torch.allclose(
        gradient(real.mean_logits(masks), logits), expected_gradient(
            logits, logits > 0, logits, range(2)), atol=1e-6)


def test_new_tensor_of_a_tensor_keeps_its_graph(logits):
    with Attached():
        copy = torch.zeros(2).new_tensor(logits)
        assert torch.equal(torch.zeros(2).new_tensor([1., 2]),
                           torch.tensor([1., 2]))
    assert torch.equal(copy, logits)
    assert torch.equal(gradient(copy, logits), torch.ones_like(logits))


@pytest.mark.parametrize('compare, mean', [
    (torch.ge, 2 / 3), (operator.ge, 2 / 3), (torch.gt, 2), (operator.gt, 2)])
def test_cells_at_the_threshold_are_inside_if_the_host_says_so(compare, mean):
    cells = torch.tensor([[[0., 2.], [-1., 0.]]], requires_grad=True)
    with MaskValues() as values:
        real = values.of(compare(cells, 0))
    grids = replace(real, pasted=True)
    assert grids.mean_logits(None).tolist() == pytest.approx([mean])
