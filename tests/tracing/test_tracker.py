"""Trackers of mmdet: their numbers, boxes and scores are the host's to the
bit, and gradients are those of the whole prediction."""
import copy

import naive
import pytest
import torch
from mmengine.structures import InstanceData
from trackers import TRACKERS, Coasting, frames, host_tracks, random_tracker

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.tracing.detector import DetectorAdapter, unwrapped
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients
from mmdet_diffmap.tracing.tracker import TrackerAdapter, detections_of

#: Their detectors are of the kinds that others have.
ALIKE = ('ocsort', 'sort', 'deepsort', 'strongsort')


def batches(tracker):
    pipeline = image_pipeline(tracker)
    return [pipeline(frame).batch for frame in frames()]


@pytest.mark.parametrize('name', TRACKERS)
def test_numbers_boxes_and_scores_are_the_hosts(name, tmp_path):
    """Through the config's own pipeline and preprocessor, from files; also
    where a frame is passed by."""
    tracker = random_tracker(name)
    theirs = host_tracks(tracker, frames(), tmp_path)
    assert set(theirs[0].instances_id.tolist()) & set(
        theirs[1].instances_id.tolist())
    adapter = TrackerAdapter(tracker)
    for passed in (), (1, ):
        adapter.restart()
        for number, (data, expected) in enumerate(
                zip(batches(tracker), theirs)):
            if number in passed:
                adapter.pass_by(data)
                continue
            found = adapter.track(data)
            ours = found.trace.detections
            assert len(ours) > 1 and not len(found.undetected)
            assert torch.equal(ours.instances_id, expected.instances_id)
            assert torch.equal(ours.scores, expected.scores)
            if name == 'strongsort':  # which gives width and height
                torch.testing.assert_close(ours.bboxes, expected.bboxes)
            else:
                assert torch.equal(ours.bboxes, expected.bboxes)
                assert torch.equal(ours.labels, expected.labels)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE))
    for name in TRACKERS])
def test_gradients_are_those_of_the_whole_prediction(name):
    tracker = random_tracker(name)
    adapter = TrackerAdapter(tracker)
    first, second, _ = batches(tracker)
    adapter.track(first)
    found = adapter.track(second).trace.select(slice(2))
    leaves, results, *_ = naive.forward(unwrapped(tracker), second, 'neck')
    distances = torch.cdist(found.detections.bboxes, results.bboxes.detach())
    assert distances.amin(dim=1).max() < 1e-3
    rows = distances.argmin(dim=1).tolist()
    ours = whole_gradients(found.gradients(OUTPUTS))
    for number, row in enumerate(rows):
        for output, value in zip(OUTPUTS, (
                results.scores[row], *results.bboxes[row])):
            expected = torch.autograd.grad(value, leaves, retain_graph=True,
                                           allow_unused=True)
            # to pixels of the network's input
            axis = 'xy'.find(output[0])
            scale = found.frame.scale[axis] if axis >= 0 else 1
            for level, gradient in enumerate(expected):
                given = ours.get((number, output), {}).get(level)
                if gradient is None or not gradient.any():
                    assert given is None or not given.any()
                    continue
                torch.testing.assert_close(
                    given, gradient[0] * scale, rtol=1e-3,
                    atol=1e-4 * float(gradient.abs().max()) * scale)


@pytest.mark.parametrize('name', ['qdtrack', 'masktrack_rcnn'])
def test_similarity_by_the_detectors_features(name):
    """A plain pass through the track head, and one backward pass for each
    object."""
    tracker = random_tracker(name)
    adapter = TrackerAdapter(tracker, with_similarity=True)
    first, second, _ = batches(tracker)
    before = adapter.track(first)
    assert before.seen_before == set()
    found = adapter.track(second)
    numbers = found.trace.detections.instances_id.tolist()
    ours = whole_gradients(found.trace.gradients(['similarity', 'score']))
    values = found.trace.output('similarity')
    old, leaves = (
        naive.forward(unwrapped(tracker), data, 'neck')[0]
        for data in (first, second))
    known = dict(zip(
        before.trace.detections.instances_id.tolist(),
        embeddings(tracker, old, before.trace)))
    now = embeddings(tracker, leaves, found.trace)
    assert values.abs().max() <= 1 + 1e-6
    compared = 0
    for row, number in enumerate(numbers):
        if number not in found.seen_before:
            assert (row, 'similarity') not in ours and values[row] == 0
            continue
        compared += 1
        other = known[number].detach()
        cosine = now[row] @ other / now[row].detach().norm() / other.norm()
        torch.testing.assert_close(values[row], cosine)
        expected = torch.autograd.grad(cosine, leaves, retain_graph=True,
                                       allow_unused=True)
        for level, gradient in enumerate(expected):
            if gradient is not None and gradient.any():
                torch.testing.assert_close(
                    ours[row, 'similarity'][level], gradient[0], rtol=1e-3,
                    atol=1e-4 * float(gradient.abs().max()))
        assert (row, 'score') in ours
    assert compared > 1


def embeddings(tracker, features, trace):
    """What the host's track head makes of the objects' features."""
    boxes = trace.frame.to_input(trace.detections.bboxes)
    head = tracker.track_head
    if hasattr(head.embed_head, 'fc_embed'):
        return head.predict(features, [boxes])
    pooled, counts = head.extract_roi_feats(features, [boxes])
    ours, _ = head.embed_head(pooled, pooled, counts, counts)
    return ours[0]


@pytest.mark.parametrize('name', ['deepsort', 'strongsort'])
def test_similarity_by_a_network_of_its_own(name):
    tracker = random_tracker(name)
    adapter = TrackerAdapter(tracker, with_similarity=True)
    first, second, _ = batches(tracker)
    adapter.track(first)
    embeddings = {}
    for row, number in enumerate(adapter.tracks.instances_id.tolist()):
        crop = adapter.embedding.crops[row:row + 1]
        embeddings[number] = tracker.reid(crop, mode='tensor')[0].detach()
    found = adapter.track(second)
    assert len(found.appearances) > 1
    assert found.appearances.keys() == found.seen_before
    for number, appearance in found.appearances.items():
        row = found.trace.detections.instances_id.tolist().index(number)
        one = found.trace.select([row])
        trace = adapter.embedding.trace(
            appearance.crop, appearance.before, one.detections, one.outputs,
            (30, 20))
        maps = tracker.reid.layers(appearance.crop).detach()
        maps.requires_grad_()
        embedding = tracker.reid.head(maps.mean(dim=(2, 3)))[0]
        other = embeddings[number]
        cosine = embedding @ other / embedding.detach().norm() / other.norm()
        (expected, ) = torch.autograd.grad(cosine, maps)
        torch.testing.assert_close(trace.features[0], maps[0].detach())
        torch.testing.assert_close(trace.output('similarity')[0], cosine)
        ours = whole_gradients(trace.gradients(['similarity']))
        torch.testing.assert_close(
            ours[0, 'similarity'][0], expected[0], rtol=1e-3,
            atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize('name', ['deepsort'])
def test_crops_are_those_of_the_host(name):
    """A box of the original image, cut out of the network's input."""
    tracker = random_tracker(name)
    adapter = TrackerAdapter(tracker, with_similarity=True)
    data = batches(tracker)[0]
    found = adapter.track(data).trace
    image = found.input.image[None]
    metainfo = data['data_samples'][0].metainfo
    expected = tracker.tracker.crop_imgs(
        image, metainfo, found.detections.bboxes.clone(), rescale=True)
    assert torch.equal(adapter.embedding.crops, expected)


def test_boxes_that_are_no_detections():
    tracker = copy.copy(random_tracker('bytetrack'))
    tracker.tracker = Coasting(motion=dict(type='KalmanFilter'),
                               obj_score_thrs=dict(high=1e-5, low=0),
                               init_track_thr=0)
    found = TrackerAdapter(tracker).track(batches(tracker)[0])
    plain = TrackerAdapter(random_tracker('bytetrack')).track(
        batches(tracker)[0])
    assert found.undetected.instances_id.tolist() == [100]
    for field in 'bboxes', 'instances_id':
        assert torch.equal(found.trace.detections[field],
                           plain.trace.detections[field])


def test_detections_of():
    detections = InstanceData(
        bboxes=torch.tensor([[0., 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]),
        scores=torch.tensor([.5, .5, .25]), labels=torch.tensor([0, 1, 0]))
    tracks = detections[[2, 1, 0, 0]]
    tracks.scores[3] += 1e-6
    assert detections_of(tracks, detections).tolist() == [2, 1, 0, -1]
    assert detections_of(tracks, detections[:0]).tolist() == [-1] * 4
    assert detections_of(tracks[:0], detections).tolist() == []


def test_nothing_of_the_tracker_changes():
    """Its weights, modes, methods and hooks; its memory is empty."""
    tracker = random_tracker('masktrack_rcnn')
    before = {name: value.clone()
              for name, value in tracker.state_dict().items()}
    adapter = TrackerAdapter(tracker, with_similarity=True)
    for data in batches(tracker)[:2]:
        for _ in adapter.track(data).trace.gradients(['similarity']):
            pass
    adapter.restart()
    after = tracker.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in tracker.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks
                   for module in tracker.modules())
    assert 'track' not in vars(tracker.tracker) and tracker.tracker.empty
    assert 'predict_mask' not in vars(tracker.detector.roi_head)


def test_frames_without_objects():
    """The host's trackers take them, and so does the adapter."""
    tracker = copy.copy(random_tracker('qdtrack'))
    tracker.detector = copy.copy(tracker.detector)
    adapter = TrackerAdapter(tracker, with_similarity=True)
    roi_head = unwrapped(tracker).roi_head
    threshold = roi_head.test_cfg.score_thr
    try:
        first, second, _ = batches(tracker)
        adapter.track(first)
        roi_head.test_cfg.score_thr = 1
        empty = adapter.track(second)
        assert not len(empty.trace) and not len(empty.undetected)
        roi_head.test_cfg.score_thr = threshold
        assert len(adapter.track(second).seen_before) > 1
    finally:
        roi_head.test_cfg.score_thr = threshold


@pytest.mark.parametrize('name, message', [
    ('bytetrack', 'ByteTrack has no embeddings that are known'),
    ('sort', 'DeepSORT has no embeddings that are known'),
])
def test_trackers_without_embeddings(name, message):
    with pytest.raises(ValueError, match=message):
        TrackerAdapter(random_tracker(name), with_similarity=True)


def test_detector_without_a_tracker():
    tracker = copy.copy(random_tracker('bytetrack'))
    tracker.tracker = None
    with pytest.raises(ValueError, match='nothing that follows what it finds'):
        TrackerAdapter(tracker)


def test_single_images_are_the_detectors():
    """A tracker is a wrapper of its detector, which the tracker's pipeline
    and preprocessor serve."""
    tracker = random_tracker('sort')
    data = batches(tracker)[0]
    trace = DetectorAdapter(tracker).trace(data)
    alone = TrackerAdapter(tracker).track(data).trace
    assert torch.equal(trace.detections.bboxes, alone.detections.bboxes)
    with pytest.raises(ValueError, match='similarity compares an object'):
        trace.output('similarity')
