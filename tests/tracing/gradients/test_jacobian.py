import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_diffmap.tracing.gradients.jacobian import RawPart, SparseJacobian


def dense(jacobian, raw, count, columns):
    """The Jacobian as one matrix for each raw map."""
    matrices = [torch.zeros(count, len(columns), one.numel()) for one in raw]
    for (detection, column), parts in jacobian.rows.items():
        for number, part in parts.items():
            matrices[number][detection, columns.index(column),
                             jacobian.indices[part]] = jacobian.values[part]
    return matrices


def one_by_one(outputs, raw, columns):
    """The same with one call of autograd for each entry."""
    matrices = [torch.zeros(len(outputs), len(columns), one.numel())
                for one in raw]
    for detection in range(len(outputs)):
        for place, column in enumerate(columns):
            gradients = torch.autograd.grad(
                outputs[detection, column], raw, retain_graph=True,
                allow_unused=True)
            for matrix, gradient in zip(matrices, gradients):
                if gradient is not None:
                    matrix[detection, place] = gradient.flatten()
    return matrices


def check(outputs, raw, columns=(0, 1, 2, 3, 4)):
    found = SparseJacobian.of(outputs, raw, columns)
    for ours, expected in zip(
            dense(found, raw, len(outputs), columns),
            one_by_one(outputs, raw, columns)):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


def detections(scores, boxes, classes, places):
    """Class scores and boxes, two sides from two values each, of places."""
    score = scores.sigmoid()[places, classes]
    center, size = boxes[places, :2], boxes[places, 2:].exp()
    return torch.cat([score[:, None], center - size / 2, center + size / 2], 1)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_places_and_classes(data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    raw = [torch.randn(9, 3).requires_grad_() for _ in range(2)]
    raw[1] = torch.randn(9, 4).requires_grad_()
    count = data.draw(st.integers(1, 45))  # at one place, often
    draw = st.lists(st.integers(0, 8), min_size=count, max_size=count)
    places = torch.tensor(data.draw(draw))
    classes = torch.tensor(data.draw(draw)) % 3
    outputs = detections(*raw, classes, places)
    columns = data.draw(st.permutations([0, 1, 2, 3, 4]))
    check(outputs, raw, columns[:data.draw(st.integers(1, 5))])


def test_classes_that_share_a_softmax():
    torch.manual_seed(0)
    logits = torch.randn(7, 4, requires_grad=True)
    boxes = torch.randn(7, 4, requires_grad=True)
    scores = logits.softmax(dim=1)
    places = torch.tensor([0, 0, 0, 3, 5, 3])
    score = scores[places, torch.tensor([0, 1, 2, 3, 0, 1])]
    check(torch.cat([score[:, None], boxes[places] * 2], dim=1),
          [logits, boxes])


@pytest.mark.parametrize('count', [60, 75, 500])
def test_many_detections(count):
    """One weighted pass tells 170 rows apart, with other weights 240, and two
    more."""
    torch.manual_seed(0)
    raw = [torch.randn(600, 3, requires_grad=True),
           torch.randn(600, 4, requires_grad=True)]
    outputs = detections(*raw, torch.zeros(count, dtype=torch.int64),
                         torch.randperm(600)[:count])
    check(outputs, raw)


def test_gradient_that_another_one_drowns():
    """Of two detections at one place, one is 1e12 times as sensitive."""
    raw = torch.tensor([1., 2., 3.], requires_grad=True)
    weights = torch.tensor([[1e6, 1e6, 0], [1e-6, 1e-6, 0]])
    outputs = torch.zeros(2, 5) + (weights @ raw)[:, None] * torch.eye(5)[0]
    outputs = outputs + torch.arange(2)[:, None]  # boxes that differ
    check(outputs, [raw])


def test_opposite_gradients_that_cancel_out():
    """Two classes at one place, each as likely as the other."""
    logits = torch.zeros(1, 2, requires_grad=True)
    boxes = torch.zeros(2, 4)
    boxes[1] = 1
    outputs = torch.cat([logits.softmax(dim=1).T, boxes], dim=1)
    check(outputs, [logits], (0, ))


def test_outputs_without_gradient():
    raw = torch.randn(6, 4, requires_grad=True)
    boxes = raw.clamp(max=-9) * torch.ones(1, 1)  # clipped: all derivatives 0
    outputs = torch.cat([raw[:, :1], boxes], dim=1)
    check(outputs, [raw])
    nothing = SparseJacobian.of(torch.zeros(3, 5), [raw], [0, 4])
    assert nothing.rows == {(i, c): {} for i in range(3) for c in (0, 4)}
    assert SparseJacobian.of(torch.zeros(0, 5), [raw], [0]).rows == {}


def test_box_from_many_places():
    """As box voting makes them: all detections share all places."""
    torch.manual_seed(0)
    raw = torch.randn(5, 4, requires_grad=True)
    weights = torch.rand(6, 5).softmax(dim=1)
    outputs = torch.cat([raw[torch.arange(6) % 5, :1], weights @ raw], dim=1)
    check(outputs, [raw])


def test_gradient_that_is_no_number_stays_with_its_owner():
    raw = torch.tensor([4., 0., 9.], requires_grad=True)
    score = raw.sqrt() * 0
    outputs = torch.stack([score, *[raw * 2] * 4], dim=1)
    found = SparseJacobian.of(outputs, [raw], [0])
    (part, ) = found.rows[1, 0].values()
    assert found.values[part].isnan().all()


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    torch.manual_seed(0)
    raw = [torch.randn(30, 3).to(dtype).requires_grad_(),
           torch.randn(30, 4).to(dtype).requires_grad_()]
    outputs = detections(*raw, torch.zeros(20, dtype=torch.int64),
                         torch.randperm(30)[:20])
    found = SparseJacobian.of(outputs, raw, range(5))
    for (detection, column), parts in found.rows.items():
        expected = torch.autograd.grad(
            outputs[detection, column], raw, retain_graph=True,
            allow_unused=True)
        for number, part in parts.items():
            torch.testing.assert_close(
                found.values[part],
                expected[number].flatten()[found.indices[part]])


def test_cotangent_of_a_raw_map_whose_elements_lie_in_another_order():
    """As the anchors of TOOD's head, which come out of a permutation."""
    torch.manual_seed(0)
    raw = torch.randn(3, 5, 4).permute(2, 0, 1).requires_grad_()
    assert not raw.is_contiguous()
    outputs = torch.stack([raw[i].sum(1) @ torch.arange(3.) + raw[i, 0, 0]**2
                           for i in range(2)])[:, None].expand(-1, 5)
    jacobian = SparseJacobian.of(outputs, [raw], [0])
    places = {detection: lambda index: index for detection in range(2)}
    found = jacobian.cotangents([0], {0: RawPart(raw.shape, places)})[0][0]
    (expected, ) = torch.autograd.grad(outputs[:, 0].sum(), raw)
    torch.testing.assert_close(found, expected)
