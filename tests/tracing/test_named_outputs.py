"""Outputs by name, against one backward pass each through the whole, uncut
network."""
from dataclasses import replace

import pytest
import torch
from families import FAMILIES, SIZE, batch_of, random_detector, random_image
from naive import forward, logits_of

from mmdet_diffmap.registry import NAMED_OUTPUTS
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.named_outputs import NamedOutput, meanings
from mmdet_diffmap.tracing.trace import check_outputs, whole_gradients

COUNT = 3


def overlap(first, second, enclosing):
    """The (generalised) intersection over union of two boxes, number by
    number."""
    sides = [torch.minimum(first[2 + axis], second[2 + axis]) - torch.maximum(
        first[axis], second[axis]) for axis in (0, 1)]
    inside = sides[0].clamp(min=0) * sides[1].clamp(min=0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = areas[0] + areas[1] - inside
    if not enclosing:
        return inside / union
    outer = [torch.maximum(first[2 + axis], second[2 + axis]) - torch.minimum(
        first[axis], second[axis]) for axis in (0, 1)]
    hull = outer[0] * outer[1]
    return inside / union - (hull - union) / hull


#: Of the number of a detection, and all boxes in pixels of the input.
OF_BOXES = {
    'width': lambda i, boxes: boxes[i, 2] - boxes[i, 0],
    'height': lambda i, boxes: boxes[i, 3] - boxes[i, 1],
    'area': lambda i, boxes: (boxes[i, 2] - boxes[i, 0]) * (
        boxes[i, 3] - boxes[i, 1]),
    'iou:1': lambda i, boxes: overlap(boxes[i], boxes[1], False),
    'giou:1': lambda i, boxes: overlap(boxes[i], boxes[1], True),
    'gap:1': lambda i, boxes: max(
        boxes[1, 0] - boxes[i, 2], boxes[i, 0] - boxes[1, 2],
        boxes[1, 1] - boxes[i, 3], boxes[i, 1] - boxes[1, 3]),
    '-y2': lambda i, boxes: -boxes[i, 3],
    'x1': lambda i, boxes: boxes[i, 0],
}


def compare(found, leaves, values):
    """Hold gradients against those of plain values, and return the largest of
    all."""
    sizes = []
    for (detection, name), value in values.items():
        expected = torch.autograd.grad(value, leaves, retain_graph=True,
                                       allow_unused=True)
        largest = max(float(gradient.abs().max()) for gradient in expected
                      if gradient is not None)
        sizes.append(largest)
        for level, gradient in enumerate(expected):
            got = found.get((detection, name), {}).get(level)
            if got is None:
                assert gradient is None or \
                    gradient.abs().max() <= 1e-5 * largest
            else:
                assert (got - gradient[0]).abs().max() <= 1e-5 * max(
                    largest, 1e-3), (detection, name)
    return max(sizes)


@pytest.mark.parametrize('family', FAMILIES)
def test_outputs_of_boxes(family):
    model = random_detector(family)
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    found = whole_gradients(trace.gradients(list(OF_BOXES)))
    leaves, results, meta, _ = forward(model, data, 'neck')
    boxes = results.bboxes[:COUNT] * results.bboxes.new_tensor(
        meta['scale_factor'] * 2)
    torch.testing.assert_close(trace.output('area').detach(), torch.stack(
        [OF_BOXES['area'](i, boxes) for i in range(COUNT)]).detach())
    for name, value in OF_BOXES.items():
        values = {(i, name): value(i, boxes) for i in range(COUNT)
                  if not (i == 1 and ':1' in name)}
        largest = compare(found, leaves, values)
        # boxes apart have an IoU of zero, whatever the features
        assert largest > 0 or (name == 'iou:1' and not any(
            value.item() for value in values.values()))
        if 'iou' in name:  # of a box with itself it is 1
            assert trace.output(name)[1].item() == pytest.approx(1)


@pytest.mark.parametrize('family', FAMILIES)
def test_outputs_of_classes(family):
    """Final detections know all their classes, as candidates do."""
    model = random_detector(family)
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    names = ['contrast', 'contrast:class 4', 'contrast:class 4/class 9',
             'logit:class 7']
    found = whole_gradients(trace.gradients(names))
    leaves, logits = logits_of(model, data)
    own, runners_up = (labels.tolist() for labels in (
        trace.detections.labels,
        trace.classes.runners_up(trace.detections.labels)))
    plain = logits if trace.classes.independent else logits.log_softmax(1)
    for name, pairs in {
            'contrast': zip(own, runners_up),
            'contrast:class 4': zip(own, [4] * COUNT),
            'contrast:class 4/class 9': [(4, 9)] * COUNT,
            'logit:class 7': [(7, None)] * COUNT}.items():
        for i, (first, second) in enumerate(pairs):
            values = plain[:, first] - (0 if second is None
                                        else plain[:, second])
            value = trace.output(name)[i].detach()
            row = int((values - value).abs().argmin())
            torch.testing.assert_close(value, values[row].detach(),
                                       rtol=1e-4, atol=1e-4)
            assert compare(found, leaves, {(i, name): values[row]}) > 0
    assert all(first != second for first, second in zip(own, runners_up))


def test_runner_up_is_the_most_probable_other_class():
    model = random_detector('fcos')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(*SIZE))).select(slice(COUNT))
    rows = trace.classes.probabilities[trace.classes.rows].detach().clone()
    for row, label, runner_up in zip(
            rows, trace.detections.labels,
            trace.classes.runners_up(trace.detections.labels)):
        row[label] = 0
        assert row[runner_up] == row.max()


@pytest.mark.parametrize('name, message', [
    ('size', "there is no output 'size': outputs are score, x1"),
    ('-mask', "there is no output '-mask'"),
    ('width:3', "width takes nothing after a colon: 'width:3'"),
    ('iou', 'iou needs something after a colon, iou:OTHER'),
    ('logit:', 'logit needs something after a colon, logit:NAME'),
])
def test_names_that_mean_nothing(name, message):
    with pytest.raises(ValueError, match=message):
        check_outputs(['score', name])
    with pytest.raises(ValueError, match='outputs are empty'):
        check_outputs([])


@pytest.mark.parametrize('name, message', [
    ('iou:9', 'there is no object 9: the detector finds 3, counted from 0'),
    ('giou:first', 'there is no object first'),
    ('logit:clas 4', "no class 'clas 4': did you mean class 4"),
    ('contrast:unicorn', "no class 'unicorn'; it has class 0, class 1"),
    ('contrast:class 4/unicorn', "no class 'unicorn'"),
    ('contrast:class 4/class 4', 'has one class twice'),
])
def test_what_an_image_or_a_detector_does_not_have(name, message):
    model = random_detector('fcos')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(*SIZE))).select(slice(COUNT))
    with pytest.raises(ValueError, match=message):
        list(trace.gradients([name]))


def test_classes_that_are_not_known():
    model = random_detector('fcos')
    trace = DetectorAdapter(model, None).trace(
        batch_of(model, random_image(*SIZE)))
    with pytest.raises(ValueError, match='does not tell how probable'):
        trace.output('contrast')


def test_an_output_of_ones_own():
    @NAMED_OUTPUTS.register_module(name='aspect', force=True)
    def aspect(trace):
        return trace.output('width') / trace.output('height')

    try:
        model = random_detector('pvt')
        data = batch_of(model, random_image(*SIZE))
        trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
        found = whole_gradients(trace.gradients(['-aspect']))
        leaves, results, meta, _ = forward(model, data, 'neck')
        boxes = results.bboxes * results.bboxes.new_tensor(
            meta['scale_factor'] * 2)
        assert compare(found, leaves, {
            (i, '-aspect'): -OF_BOXES['width'](i, boxes) /
            OF_BOXES['height'](i, boxes) for i in range(COUNT)}) > 0
    finally:
        NAMED_OUTPUTS.module_dict.pop('aspect')


def test_a_class_by_its_number():
    """Also where names look like numbers."""
    model = random_detector('fcos')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(*SIZE))).select(slice(COUNT))
    assert torch.equal(trace.output('logit:#7'), trace.output(
        'logit:class 7'))
    names = tuple(str(label) for label in reversed(range(80)))
    turned = replace(trace, classes=replace(trace.classes, names=names))
    assert torch.equal(turned.output('logit:72'), trace.output(
        'logit:class 7'))
    assert torch.equal(turned.output('contrast:#7/#9'), trace.output(
        'contrast:class 7/class 9'))
    with pytest.raises(ValueError, match="no class '#80'"):
        trace.output('logit:#80')


def test_words_of_signed_maps():
    model = random_detector('fcos')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(*SIZE))).select(slice(COUNT))
    names = [f'class {label}' for label in trace.detections.labels.tolist()]
    for name, meaning in zip(names, meanings(trace, ('contrast:class 4', ))):
        if name != 'class 4':
            assert meaning.question == f'why {name} and not class 4'
            assert (meaning.above, meaning.below) == (name, 'class 4')
    meaning, *_ = meanings(trace, ('width', ))
    assert (meaning.above, meaning.below) == ('raises width', 'lowers width')


def test_a_sign_is_that_of_the_number():
    assert NamedOutput.of('-width').sign == -1
    assert NamedOutput.of('width').sign == 1
