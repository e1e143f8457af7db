import cv2
import numpy as np
import pytest
import torch
from clips import (
    RATE,
    SIZE,
    distance_from,
    read_clip,
    read_explained,
    rendered,
    write_clip,
)
from demo import CONFIG, WEIGHTS, demo_detector
from mmengine.structures import InstanceData

from mmdet_diffmap import explain
from mmdet_diffmap.apis.inferencer import DiffMapInferencer
from mmdet_diffmap.apis.video import Painter, explain_video, is_video
from mmdet_diffmap.explainers import Explainer
from mmdet_diffmap.io.video_files import opened, writing
from mmdet_diffmap.visualization.colours import OTHER, TARGET, overlay
from mmdet_diffmap.visualization.figure import (
    HEATMAP,
    POSITIVE,
    SCALES,
    SIGNED,
)

#: Maps that are zero far from their object.
LOCAL = dict(type='ODAM', statistics='frozen')


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / 'clip.avi', [rendered(t) for t in range(5)])


@pytest.mark.parametrize('name, expected', [
    ('a.mp4', True), ('x/b.AVI', True), ('c.mov', True), ('d.mkv', True),
    ('e.webm', True), ('f.m4v', True), ('g.mpg', True), ('a.jpg', False),
    ('mp4', False), ('scene://0/1', False)])
def test_names_of_videos(name, expected):
    assert is_video(name) is expected


@pytest.mark.parametrize('every, frames', [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_frames_size_and_rate(every, frames, clip, tmp_path):
    out = tmp_path / 'inner/out.mp4'
    assert explain_video(demo_detector(), clip, out, LOCAL, max_objects=2,
                         every=every) == frames
    rate = read_clip(out)[1]
    found, legends = read_explained(out)
    assert len(found) == frames
    assert {one.shape[1::-1] for one in found} == {SIZE}
    assert {one.shape[1] for one in legends} == {SIZE[0]}
    assert {len(one) % 2 + len(one) // 60 for one in legends} == {0}
    assert rate == pytest.approx(RATE / every, rel=0.01)
    for one, plain in zip(found, read_clip(clip)[0][::every]):
        apart = np.abs(one - plain).max(axis=-1)
        assert np.median(apart) < 12 < 100 < apart.max()


def test_frames_are_read_one_at_a_time(clip):
    with opened(clip) as video:
        frames = video.frames()
        for read in (1, 2, 3):
            next(frames)
            assert video.capture.get(cv2.CAP_PROP_POS_FRAMES) == read


def changes(path, clip):
    """Where each frame is not that of the clip; shape (H, W) each. The clip
    goes through the same codec, which blurs colours."""
    plain = clip.parent / 'plain.mp4'
    with opened(clip) as video, writing(plain, video.rate, SIZE) as write:
        for frame in video.frames():
            write(frame)
    return [np.abs(one - before).max(axis=-1) > 40 for one, before in zip(
        read_explained(path)[0], read_clip(plain)[0])]


@pytest.mark.parametrize('show', [
    'positive', pytest.param('heatmap', marks=pytest.mark.slow)])
def test_follows_one_object(show, clip, tmp_path):
    """Its surroundings change colour in every frame, and nothing else."""
    first = explain(demo_detector(), read_clip(clip)[0][0].astype(np.uint8),
                    max_objects=2).pred_instances
    assert len(first) == 2
    for follow in (0, 1):
        explain_video(demo_detector(), clip, tmp_path / 'out.mp4', LOCAL,
                      follow=follow, show=show, draw_boxes=False)
        for changed, before in zip(changes(tmp_path / 'out.mp4', clip),
                                   read_clip(clip)[0]):
            objects = explain(demo_detector(), before.astype(np.uint8),
                              max_objects=2).pred_instances
            (own, ) = (i for i in range(2)
                       if objects.labels[i] == first.labels[follow])
            near = distance_from(objects.bboxes[own], changed.shape) < 16
            assert changed[near].mean() > 0.05
            assert changed[~near].mean() < 0.001
    assert first.labels[0] != first.labels[1]


def test_object_that_vanishes_and_returns(tmp_path):
    """Frames without it have no map, and the legend says so."""
    first = explain(demo_detector(), rendered(0)).pred_instances
    moves = first.bboxes[:, 0].argmin()  # the figure that begins at the left
    frames = [rendered(t, vanished=(0, ) * (t in (2, 3))) for t in range(6)]
    clip = write_clip(tmp_path / 'clip.avi', frames)
    out = tmp_path / 'out.mp4'
    explain_video(demo_detector(), clip, out, LOCAL, follow=int(moves),
                  show='positive')
    _, legends = read_explained(out)
    for step, changed in enumerate(changes(out, clip)):
        lost = step in (2, 3)
        # elsewhere there is the label of the other object, which is higher up
        assert (changed[100:].mean() > 0.01) != lost
        assert differ(legends[step], legends[0]) == lost
    # with less patience, it is another object when it returns
    explain_video(demo_detector(), clip, out, LOCAL, follow=int(moves),
                  show='positive', patience=1)
    assert differ(*read_explained(out)[1][::5])


def differ(first, second):
    """Whether something else is written."""
    return (np.abs(first - second).max(axis=-1) > 100).sum() > 20


def instances_of(*halves, label=0):
    """Objects with the same box and maps that are not zero in some columns
    of a frame of 40x60 pixels."""
    maps = torch.zeros(len(halves), 40, 60)
    for one, (columns, value) in zip(maps, halves):
        one[:, columns] = value
    return InstanceData(
        bboxes=torch.tensor([[20., 20, 40, 35]]).repeat(len(halves), 1),
        scores=torch.ones(len(halves)),
        labels=torch.full((len(halves), ), label),
        instances_id=torch.arange(len(halves)), lacks=[''] * len(halves),
        heatmaps=maps, difference_maps=maps)


def painted_by(shown, follow=None, draw_boxes=False, names='ab'):
    return Painter(names, shown, follow, draw_boxes, 'odam')


@pytest.mark.parametrize('shown', [HEATMAP, POSITIVE, SIGNED])
def test_maps_are_joined_by_their_maximum(shown):
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    instances = instances_of((slice(0, 20), 1), (slice(10, 30), .25))
    painted = painted_by(shown).paint(frame, instances)[:40]
    joined = np.zeros((40, 60), np.float32)
    joined[:, :20], joined[:, 20:30] = 1, .25
    np.testing.assert_array_equal(
        painted, overlay(frame, joined, SCALES[shown], grey=False))
    assert (painted[:, 30:] == frame[:, 30:]).all()


def test_negative_values_of_a_followed_object_are_blue():
    frame = np.full((40, 60, 3), 128, np.uint8)
    instances = instances_of((slice(0, 20), -1), (slice(20, 60), 1))
    alone = painted_by(SIGNED, 0).paint(frame, instances)
    red, _, blue = alone[0, 0].astype(int)
    assert blue - red > 60
    assert (alone[:40, 20:] == 128).all()


def test_boxes_and_texts():
    frame = np.full((40, 60, 3), 128, np.uint8)
    one = instances_of((slice(0), 0))
    painted = painted_by(HEATMAP, None, True, ['cat']).paint(frame, one)[:40]
    assert (painted[35, 20:41] == TARGET).all()
    assert (painted[22:36, 40] == TARGET).all()
    assert not (painted == OTHER).all(axis=-1).any()
    text = (painted == 0).all(axis=-1)  # black letters
    assert text.any() and not text[36:].any()
    others = painted_by(HEATMAP, 0, True, ['cat'])
    two = instances_of((slice(0), 0), (slice(0), 0))
    two.bboxes[1] += torch.tensor([-15., 2, -15, 2])
    assert (others.paint(frame, two)[:40] == OTHER).all(axis=-1).any()


def test_before_and_after_the_followed_object():
    frame = np.full((40, 60, 3), 128, np.uint8)
    painter = painted_by(HEATMAP, 0, names=['cat'])
    none, one = instances_of(), instances_of((slice(0, 60), 1))
    pictures = [painter.paint(frame, found) for found in (none, one, none)]
    assert painter.count == 3 and painter.followed == '0 cat'
    assert (pictures[1][:40] != 128).any(axis=-1).all()
    for lost in (pictures[0], pictures[2]):
        assert (lost[:40] == 128).all()
    assert len({picture.shape for picture in pictures}) == 1


def test_legend_of_each_kind():
    """The bar's ends have the colours of the smallest and largest value that
    a map can have there; the rest is black on white."""
    frame = np.full((200, 600, 3), 200, np.uint8)
    instances = instances_of((slice(0, 20), 1), (slice(20, 60), .5))
    for shown, follow, low in ((HEATMAP, None, 0), (SIGNED, None, 0),
                               (SIGNED, 0, -1), (POSITIVE, 0, 0)):
        legend = painted_by(shown, follow).paint(frame, instances)[200:]
        coloured = np.ptp(legend.astype(int), axis=-1).max(axis=0) > 20
        grey = (legend == 200).all(axis=-1).any(axis=0)
        bar = np.flatnonzero(coloured | grey)[[0, -1]]
        for column, value in zip(bar, (low, 1)):
            expected = overlay(frame[:1, :1], np.full((1, 1), float(value)),
                               SCALES[shown], grey=False)[0, 0]
            ends = legend[len(legend) // 2, column]
            np.testing.assert_allclose(ends.astype(int), expected, atol=12)


def test_labels_of_a_crowd_are_readable_and_stay():
    """Objects in a row, each closer to the next than its label is wide, that
    move over the picture."""
    frame = np.zeros((400, 600, 3), np.uint8)
    painter = painted_by(HEATMAP, draw_boxes=True, names=['policeman'])
    maps = torch.zeros(6, 400, 600)
    seen = []
    for step in range(30):
        left = torch.arange(6) * 40. + 4 * step + 30
        boxes = torch.stack([left, torch.full((6, ), 150.), left + 50,
                             torch.full((6, ), 260.)], dim=1)
        painter.paint(frame, InstanceData(
            bboxes=boxes, scores=torch.full((6, ), (90 - step) / 100),
            labels=torch.zeros(6, dtype=torch.long),
            instances_id=torch.arange(6), lacks=[''] * 6, heatmaps=maps,
            difference_maps=maps))
        seen.append(dict(painter.sides))
    assert sorted(seen[0]) == list(range(6))
    assert len(set(seen[0].values())) > 1  # not all above
    assert all(sides == seen[0] for sides in seen)


class Interrupted(Explainer):
    """A method that somebody stops at the third image."""
    target_layer = None
    calls = 0

    def __call__(self, trace):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return torch.zeros(len(trace), *trace.frame.image_shape)


@pytest.mark.parametrize('before', [None, b'an older video'])
def test_interruption_leaves_no_half_a_file(before, clip, tmp_path):
    out = tmp_path / 'out/a.mp4'
    out.parent.mkdir()
    if before:
        out.write_bytes(before)
    with pytest.raises(KeyboardInterrupt):
        explain_video(demo_detector(), clip, out, Interrupted())
    left = list(out.parent.iterdir())
    assert [one.read_bytes() for one in left] == [before] * bool(before)


def test_videos_that_cannot_be_read(tmp_path):
    out = tmp_path / 'out.mp4'
    (tmp_path / 'a.mp4').write_text('no video')
    (tmp_path / 'b.mp4').write_bytes(b'')
    for name, message in (('no.mp4', r'no\.mp4 does not exist'),
                          ('a.mp4', r'a\.mp4 is damaged, or of no kind'),
                          ('b.mp4', r'b\.mp4 is damaged, or of no kind')):
        with pytest.raises(OSError, match=message):
            explain_video(demo_detector(), tmp_path / name, out)
    assert not out.exists()


def test_video_without_frames(clip, tmp_path):
    """Its header is whole, and of its frames nothing is left."""
    content = clip.read_bytes()
    start = content.index(b'movi') + 4
    damaged = content[:start] + bytes(len(content) - start)
    (tmp_path / 'none.avi').write_bytes(damaged)
    with pytest.raises(OSError, match=r'none\.avi (holds no frame|is damag)'):
        explain_video(demo_detector(), tmp_path / 'none.avi',
                      tmp_path / 'out.mp4')


@pytest.mark.parametrize('options, message', [
    (dict(follow=5), 'no object 5 to follow: the first .* has 2,'),
    (dict(follow=-1), 'no object -1 to follow'),
    (dict(show='maps'), "show must be heatmap, .*, not 'maps'"),
    (dict(every=0), 'every must be at least 1'),
    (dict(explainer='x'), "unknown explainer 'x'"),
    (dict(out_path='out.avi'), r'must end in \.mp4: out\.avi'),
])
def test_mistakes(options, message, clip, tmp_path):
    options = dict(out_path=tmp_path / 'out.mp4') | options
    with pytest.raises(ValueError, match=message):
        explain_video(demo_detector(), clip, **options)
    assert not list(tmp_path.glob('*.mp4'))


def test_video_does_not_replace_itself(clip, tmp_path):
    path = clip.rename(tmp_path / 'clip.mp4')
    with pytest.raises(ValueError, match='would replace the video'):
        explain_video(demo_detector(), path, path)


def test_inferencer(clip, tmp_path):
    inferencer = DiffMapInferencer(CONFIG, WEIGHTS, 'cpu', explainer=LOCAL)
    out = tmp_path / 'out'
    result = inferencer(str(clip), out_dir=out, difference='positive',
                        max_objects=1)
    assert result == dict(
        predictions=[dict(video=str(out / 'vis/clip.mp4'), frames=5)],
        visualization=[])
    explain_video(demo_detector(), clip, tmp_path / 'b.mp4', LOCAL,
                  max_objects=1, show='positive')
    np.testing.assert_array_equal(*(read_clip(one)[0] for one in (
        out / 'vis/clip.mp4', tmp_path / 'b.mp4')))


def test_inferencer_refuses_what_a_video_does_not_have(clip, tmp_path):
    inferencer = DiffMapInferencer(CONFIG, WEIGHTS, 'cpu')
    with pytest.raises(ValueError, match='no language branch'):
        inferencer(str(clip), texts='a cat', out_dir=tmp_path)
    with pytest.raises(ValueError, match='explained with no out_dir: give'):
        inferencer(str(clip))
    for options in (dict(return_vis=True), dict(no_save_pred=False),
                    dict(return_datasamples=True)):
        with pytest.raises(ValueError, match=f'with {next(iter(options))}'):
            inferencer(str(clip), out_dir=tmp_path, **options)
    with pytest.raises(ValueError, match='explained with images'):
        inferencer([str(clip), 'scene://0/2'], out_dir=tmp_path)
