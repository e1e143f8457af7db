"""Videos that a tracker of mmdet follows."""
import copy

import numpy as np
import pytest
import torch
from clips import (
    SIZE,
    distance_from,
    read_clip,
    read_explained,
    rendered,
    write_clip,
)
from demo import SCENE, WEIGHTS, demo_detector
from mmengine.structures import InstanceData
from programs import run
from trackers import Coasting, frames, random_tracker

from mmdet_diffmap import explain, explain_video, load_detector
from mmdet_diffmap.apis.video import Painter
from mmdet_diffmap.apis.video_objects import NEW, UNDETECTED, objects_of
from mmdet_diffmap.explainers import DifferenceMap
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.visualization.figure import HEATMAP

CONFIG = 'mmdet_diffmap::tracking/bytetrack_scenes.py'
LOCAL = dict(type='ODAM', statistics='frozen')


@pytest.fixture(scope='module')
def bytetrack():
    return load_detector(CONFIG, device='cpu')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp('clip') / 'clip.avi',
                      [rendered(t) for t in range(5)])


def objects(model, explainer=LOCAL, follow=None, **selection):
    return objects_of(model, DifferenceMap(explainer),
                      Selection(**selection), follow, 10)


def test_maps_are_the_detectors_and_numbers_the_trackers(bytetrack, clip):
    found = objects(bytetrack)
    for frame in read_clip(clip)[0][:3]:
        frame = frame.astype(np.uint8)
        ours = found.explain(frame)
        plain = explain(demo_detector(), frame, LOCAL).pred_instances
        rows = [(plain.bboxes - box).abs().sum(dim=1).argmin()
                for box in ours.bboxes]
        for field in 'bboxes', 'scores', 'labels', 'heatmaps':
            torch.testing.assert_close(ours[field], plain[rows][field])
        assert ours.instances_id.tolist() == [0, 1]
        assert ours.lacks == ['', '']
    found.close()


@pytest.mark.slow
def test_command(clip, tmp_path):
    result = run('mmdet-diffmap', 'explain', clip, CONFIG, '--object', 1,
                 '--every', 2, '--device', 'cpu', '--map', 'positive',
                 cwd=tmp_path)
    assert '3 frames' in result.stdout
    found, _ = read_explained(tmp_path / 'outputs/vis/clip.mp4')
    assert len(found) == 3
    result = run('mmdet-diffmap', 'explain', clip, CONFIG, '--object', 7,
                 '--device', 'cpu', cwd=tmp_path, expect=1)
    assert 'no object 7 to follow: the tracker gives those above the score ' \
        'threshold the numbers 0, 1' in result.stderr


def test_tracker_sees_each_frame_also_those_that_are_left_out(bytetrack):
    found = objects(bytetrack)
    found.explain(rendered(0))
    for step in range(1, 4):
        found.pass_by(rendered(step))
    assert found.adapter.frame == 4
    assert found.explain(rendered(4)).instances_id.tolist() == [0, 1]
    found.close()
    assert bytetrack.tracker.empty


def test_score_threshold_and_number_of_objects(bytetrack):
    assert len(objects(bytetrack, max_objects=1).explain(rendered(0))) == 1
    assert not len(objects(bytetrack, score_thr=1.).explain(rendered(0)))


def test_unknown_number_leaves_no_file(bytetrack, clip, tmp_path):
    with pytest.raises(ValueError, match='no object 9 to follow: the tracker'):
        explain_video(bytetrack, clip, tmp_path / 'a.mp4', LOCAL, follow=9)
    assert not list(tmp_path.iterdir())
    assert bytetrack.tracker.empty


def test_box_that_is_no_detection_has_no_map(bytetrack):
    tracker = copy.copy(bytetrack)
    tracker.tracker = Coasting(motion=dict(type='KalmanFilter'),
                               obj_score_thrs=dict(high=.4, low=.1),
                               init_track_thr=.4)
    instances = objects(tracker).explain(rendered(0))
    assert sorted(instances.instances_id.tolist()) == [0, 1, 100]
    assert instances.lacks == ['', '', UNDETECTED]
    assert not instances.heatmaps[2].any() and instances.heatmaps[0].any()
    frame = rendered(0)
    texts = []
    for follow in 0, 100, None:
        painter = Painter(['a'] * 8, HEATMAP, follow, False, 'odam')
        legend = painter._legend
        painter._legend = lambda *given, legend=legend: texts.append(
            given[1:]) or legend(*given)
        painted = painter.paint(frame, instances)[:SIZE[1]]
        assert (painted != frame).any() == (follow != 100)
    assert texts == [(1, [''], 3), (0, [UNDETECTED], 3),
                     (2, ['', '', UNDETECTED], 3)]


def legend_of(follow, lacks, numbers):
    count = len(numbers)
    instances = InstanceData(
        bboxes=torch.zeros(count, 4), scores=torch.ones(count),
        labels=torch.zeros(count, dtype=torch.long),
        instances_id=torch.tensor(numbers, dtype=torch.long), lacks=lacks,
        heatmaps=torch.ones(count, 40, 700))
    painter = Painter(['cat'], HEATMAP, follow, False, 'odam')
    return painter.paint(np.zeros((40, 700, 3), np.uint8), instances)[40:]


def test_strip_says_what_has_no_map():
    """Each case has words of its own."""
    legends = [legend_of(*case) for case in (
        (None, ['', ''], [0, 1]), (None, ['', NEW], [0, 1]),
        (None, ['', UNDETECTED], [0, 1]), (None, [NEW, NEW], [0, 1]),
        (None, [], []), (3, ['', ''], [0, 1]), (1, ['', ''], [0, 1]),
        (1, ['', NEW], [0, 1]), (1, ['', UNDETECTED], [0, 1]))]
    assert len({legend.tobytes() for legend in legends}) == len(legends)
    assert len({legend.shape for legend in legends}) == 1


@pytest.mark.parametrize('name', ['qdtrack', 'deepsort'])
def test_similarity(name):
    tracker = random_tracker(name)
    found = objects(tracker, dict(type='ODAM', outputs='similarity'),
                    score_thr=0)
    first, second, third = map(found.explain, frames())
    assert set(first.lacks) == {NEW} and not first.heatmaps.any()
    known = set(first.instances_id.tolist())
    compared = 0
    for number, lack, heatmap, box in zip(
            second.instances_id.tolist(), second.lacks, second.heatmaps,
            second.bboxes):
        assert lack == ('' if number in known else NEW)
        if lack:
            continue
        compared += 1
        if name == 'deepsort':  # a map of the crop
            assert heatmap.amax() == 1
            inside = box.clamp(min=torch.zeros(4), max=torch.tensor(
                heatmap.shape[::-1] * 2) - 1)
            assert distance_from(inside, heatmap.shape)[
                heatmap > 0].max() <= 1
    assert compared > 1 and second.heatmaps.amax(dim=(1, 2)).max() == 1
    assert third.heatmaps.any()


def test_similarity_in_a_video(tmp_path):
    clip = write_clip(tmp_path / 'clip.avi', frames())
    tracker = random_tracker('qdtrack')
    for outputs in 'similarity', ('-similarity', 'score'):
        assert explain_video(tracker, clip, tmp_path / 'a.mp4',
                             dict(type='grad-cam', outputs=outputs),
                             score_thr=0, show='heatmap') == 3


def test_mistakes(bytetrack, clip, tmp_path):
    out = tmp_path / 'out.mp4'
    similarity = dict(type='ODAM', outputs='similarity')
    with pytest.raises(ValueError, match='ByteTrack has no embeddings'):
        explain_video(bytetrack, clip, out, similarity)
    with pytest.raises(ValueError, match='similarity without others'):
        explain_video(random_tracker('deepsort'), clip, out,
                      dict(type='ODAM', outputs=('score', 'similarity')))
    with pytest.raises(ValueError, match='give a video, and a tracker'):
        explain_video(demo_detector(), clip, out, similarity)
    alone = copy.copy(bytetrack)
    alone._modules = {name: module for name, module in
                      alone._modules.items() if name != 'detector'}
    for work in (lambda: explain_video(alone, clip, out),
                 lambda: explain(alone, SCENE)):
        with pytest.raises(ValueError, match=r'ByteTrack has no detector of '
                           'its own, .*: give a detector of images, such as'):
            work()
    # before anything is loaded
    with pytest.raises(ValueError, match='Mask2FormerVideo has no detector'):
        load_detector('mmdet::mask2former_vis/mask2former_r50_8xb2-8e_'
                      'youtubevis2021.py')
    assert not list(tmp_path.glob('*.mp4'))


def test_images_are_explained_by_the_detector_alone(bytetrack):
    ours = explain(bytetrack, SCENE, LOCAL).pred_instances
    plain = explain(demo_detector(), SCENE, LOCAL).pred_instances
    for field in 'bboxes', 'scores', 'labels', 'heatmaps':
        assert torch.equal(ours[field], plain[field])


def test_weights_of_the_whole_and_of_the_detector(bytetrack, tmp_path):
    whole = tmp_path / 'whole.pth'
    changed = {name: value + 1 for name, value in
               bytetrack.state_dict().items() if value.is_floating_point()}
    torch.save(dict(state_dict=bytetrack.state_dict() | changed,
                    meta=dict(dataset_meta=dict(classes=['a']))), whole)
    loaded = load_detector(CONFIG, whole, device='cpu')
    for name, value in loaded.named_parameters():
        assert torch.equal(value, changed[name])
    assert loaded.dataset_meta == dict(classes=['a'])
    plain = load_detector(CONFIG, WEIGHTS, device='cpu')
    for ours, theirs in zip(plain.detector.parameters(),
                            demo_detector().parameters()):
        assert torch.equal(ours, theirs)


def test_weights_of_each_part(tmp_path):
    """As SORT's configs name them; a part without is an error."""
    tracker = random_tracker('deepsort')
    cfg = copy.deepcopy(tracker.cfg)
    files = {}
    for name in 'detector', 'reid':
        files[name] = tmp_path / f'{name}.pth'
        torch.save(tracker.get_submodule(name).state_dict(), files[name])
    cfg.model.detector.init_cfg = dict(
        type='Pretrained', checkpoint=str(files['detector']))
    with pytest.raises(ValueError, match='no weights for reid of DeepSORT'):
        load_detector(cfg, device='cpu')
    cfg.model.reid.init_cfg = dict(
        type='Pretrained', checkpoint=str(files['reid']))
    for weights in None, files['detector']:
        loaded = load_detector(cfg, weights, device='cpu')
        state = tracker.state_dict()
        assert all(torch.equal(value, state[name])
                   for name, value in loaded.state_dict().items())
    with pytest.raises(ValueError, match='do not fit'):
        load_detector(cfg, files['reid'], device='cpu')
