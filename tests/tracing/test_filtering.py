"""What becomes of each candidate, against the host's own run, and against
suppression and gradients as plainly as they can be computed."""
import copy

import pytest
import torch
from families import (
    FAMILIES,
    SIZE,
    batch_of,
    build,
    random_detector,
    random_image,
    small_config,
)
from naive import forward
from torchvision.ops import box_iou

from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.filtering import Fate
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients

OVERLAP = 0.3
MAXIMUM = 3
#: Whose random boxes overlap none of their class.
AGNOSTIC = 'fcos', 'yolox'


def settings_of(model):
    return model.test_cfg.get('rcnn') or model.test_cfg


def with_settings(family, **settings):
    """A copy of a family's detector whose heads have other settings."""
    model = copy.deepcopy(random_detector(family))
    for owner in (model, model.bbox_head if hasattr(model, 'bbox_head') else
                  model.roi_head):
        owner.test_cfg = copy.deepcopy(owner.test_cfg)
        (owner.test_cfg.get('rcnn') or owner.test_cfg).update(settings)
    return model


def strict(family):
    """A detector of which each step of the filtering leaves something out."""
    data = batch_of(random_detector(family), random_image(*SIZE))
    if family == 'detr':
        return with_settings(family, max_per_img=MAXIMUM), data
    trace = DetectorAdapter(random_detector(family), None).trace(data)
    (found, ) = trace.input.candidates(trace.input.image[None])
    nms = dict(type='nms', iou_threshold=OVERLAP)
    if family in AGNOSTIC:
        nms['class_agnostic'] = True
    if family == 'yolox':  # knows no max_per_img
        nms['max_num'] = MAXIMUM
    return with_settings(
        family, score_thr=float(found.scores.quantile(0.7)), nms=nms,
        max_per_img=MAXIMUM), data


@pytest.fixture(scope='module', params=FAMILIES)
def filtered(request):
    model, data = strict(request.param)
    return request.param, model, data, DetectorAdapter(
        model).trace_candidates(data)


def rows(detections):
    """Boxes, labels and scores in any order, as a sorted list."""
    return sorted(torch.cat([
        detections.bboxes.detach(), detections.labels[:, None].float(),
        detections.scores.detach()[:, None]], dim=1).tolist())


def test_final_detections_are_the_hosts(filtered):
    _, model, data, candidates = filtered
    final = DetectorAdapter(model).trace(data).detections
    found = candidates.trace.detections[candidates.filtering.detections]
    for name in ('bboxes', 'scores', 'labels'):
        assert torch.equal(found[name], final[name])
    kept = candidates.with_fate(Fate.KEPT)
    assert sorted(candidates.filtering.detections.tolist()) == kept.tolist()
    assert len(kept) == MAXIMUM


def test_what_is_above_the_threshold_comes_to_suppression(filtered):
    """As another way to listen to the head hears it."""
    family, model, data, candidates = filtered
    if family == 'detr':
        pytest.skip('DETR has no threshold')
    trace = DetectorAdapter(model, None).trace(data)
    (heard, ) = trace.input.candidates(trace.input.image[None])
    sides = heard.bboxes[:, 2:] - heard.bboxes[:, :2]
    scores = heard.scores[(sides > 0).all(dim=1)]  # it hears empty boxes, too
    above = candidates.filtering.fates != Fate.BELOW_THRESHOLD
    assert 0 < len(scores) == int(above.sum()) < len(above)
    torch.testing.assert_close(
        candidates.trace.detections.scores[above].sort().values,
        scores.sort().values)


def test_suppression_is_the_greedy_choice(filtered):
    family, _, _, candidates = filtered
    detections = candidates.trace.detections
    fates = candidates.filtering.fates
    suppressors = candidates.filtering.suppressors
    if family == 'detr':
        assert not (fates == Fate.SUPPRESSED).any()
        assert (fates == Fate.CUT).any() and (suppressors == -1).all()
        return
    overlaps = box_iou(detections.bboxes, detections.bboxes) > OVERLAP
    if family not in AGNOSTIC:
        overlaps &= detections.labels[:, None] == detections.labels
    kept, expected = [], torch.full_like(suppressors, -1)
    for candidate in (fates != Fate.BELOW_THRESHOLD).nonzero()[:, 0].tolist():
        better = [winner for winner in kept if overlaps[candidate, winner]]
        if better:
            expected[candidate] = better[0]
        else:
            kept.append(candidate)
    assert torch.equal(suppressors, expected)
    assert kept[:MAXIMUM] == candidates.with_fate(Fate.KEPT).tolist()
    assert kept[MAXIMUM:] == candidates.with_fate(Fate.CUT).tolist()
    assert kept[MAXIMUM:] and (expected >= 0).any()
    assert candidates.suppressed_by(kept[0]).tolist() == [
        number for number, winner in enumerate(expected) if winner == kept[0]]


def test_gradients_are_those_of_the_whole_prediction(filtered):
    """Of candidates that the detector drops, from a detector that is set up
    to drop nothing."""
    family, _, data, candidates = filtered
    everything = dict(max_per_img=12) if family == 'detr' else dict(
        score_thr=0., max_per_img=10**6,
        nms=dict(type='nms', iou_threshold=2., max_num=10**6))
    model = with_settings(family, **everything)
    features, results, meta, _ = forward(model, data, 'neck')
    fates = candidates.filtering.fates
    chosen = [int((fates == fate).nonzero()[-1]) for fate in Fate
              if (fates == fate).any()]
    some = candidates.trace.select(chosen)
    ours = whole_gradients(some.gradients())
    scale = torch.tensor(meta['scale_factor'] * 2)
    checked = 0
    for number, (box, score, label) in enumerate(zip(
            some.detections.bboxes, some.detections.scores,
            some.detections.labels)):
        apart = (results.bboxes - box).abs().amax(dim=1) + \
            (results.scores - score).abs() + (results.labels != label)
        same = int(apart.argmin())
        assert apart[same] < 1e-3
        outputs = results.scores[same], *(results.bboxes[same] * scale)
        for output, value in zip(OUTPUTS, outputs):
            expected = torch.autograd.grad(
                value, features, retain_graph=True, allow_unused=True)
            for level, gradient in enumerate(expected):
                found = ours.get((number, output), {}).get(level)
                if gradient is None or not gradient.any():
                    assert found is None or not found.any()
                    continue
                checked += 1
                assert (found - gradient[0]).abs().max() <= \
                    1e-5 * gradient.abs().max()
    assert checked >= 2 * len(chosen)


def test_proposals_are_regions_or_anchors(filtered):
    """In pixels of the input; points and queries are none."""
    family, _, _, candidates = filtered
    proposals = candidates.filtering.proposals
    if family not in ('faster_rcnn', 'pvt'):
        assert proposals is None
        return
    if family == 'faster_rcnn':
        assert proposals.shape == (30, 4)  # of the config
        height, width = candidates.trace.frame.input_shape
        assert (proposals >= 0).all() and (
            proposals <= torch.tensor([width, height] * 2)).all()
        return
    shapes = [level.shape[-2:] for level in candidates.trace.features]
    assert len(proposals) == 9 * sum(shape.numel() for shape in shapes)
    # the first nine stand around the first cell, the smallest 32 pixels wide
    centres = (proposals[:9, :2] + proposals[:9, 2:]) / 2
    assert (centres == 0).all()
    areas = (proposals[:9, 2:] - proposals[:9, :2]).prod(dim=1)
    torch.testing.assert_close(
        areas.sort().values[::3], (32 * 2**(torch.arange(3) / 3))**2,
        rtol=1e-4, atol=0)


def test_settings_are_as_they_were(filtered, monkeypatch):
    _, model, data, _ = filtered
    head = model.bbox_head if hasattr(model, 'bbox_head') else \
        model.roi_head.bbox_head
    before = copy.deepcopy(settings_of(model))
    owner = model.roi_head if hasattr(model, 'roi_head') else head
    DetectorAdapter(model).trace_candidates(data)
    assert settings_of(model) == before and settings_of(owner) == before
    assert 'predict_by_feat' not in vars(head)

    def fail(*args, **kwargs):
        raise RuntimeError('no boxes today')

    monkeypatch.setattr(type(head), '_predict_by_feat_single' if hasattr(
        head, '_predict_by_feat_single') and not hasattr(
            head, 'multi_level_conv_obj') else '_bbox_post_process', fail)
    with pytest.raises(RuntimeError, match='no boxes today'):
        DetectorAdapter(model).trace_candidates(data)
    assert settings_of(model) == before and settings_of(owner) == before
    assert 'predict_by_feat' not in vars(head)


@pytest.mark.parametrize('config', [
    'yolact/yolact_r50_1xb8-55e_coco.py',
    'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
    'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py',
])
def test_other_kinds_of_filtering_are_named(config):
    model = build(small_config(config))
    data = batch_of(model, random_image(*SIZE))
    with pytest.raises(NotImplementedError, match='cannot be told'):
        DetectorAdapter(model).trace_candidates(data)


def test_soft_suppression_keeps_what_it_lowers():
    """Only what falls below its smallest score is suppressed."""
    model = with_settings('pvt', score_thr=0., max_per_img=10**6, nms=dict(
        type='soft_nms', iou_threshold=OVERLAP, min_score=0.04))
    data = batch_of(model, random_image(*SIZE))
    candidates = DetectorAdapter(model).trace_candidates(data)
    final = DetectorAdapter(model).trace(data).detections
    found = candidates.trace.detections[candidates.filtering.detections]
    assert torch.equal(found.bboxes, final.bboxes)
    assert (found.scores >= final.scores - 1e-6).all()
    assert (found.scores > final.scores).any()
    assert len(candidates.with_fate(Fate.SUPPRESSED))


