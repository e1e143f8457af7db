import numpy as np
import pytest

from mmdet_diffmap.apis.tracking import Tracker, overlaps


def box(x, y, size=20.):
    return [x, y, x + size, y + size]


def follow(tracker, frames, label=0):
    """The numbers that the tracker gives to boxes of one class."""
    return [
        tracker.update(np.array(boxes, float).reshape(-1, 4),
                       np.full(len(boxes), label)).tolist()
        for boxes in frames
    ]


def plain_iou(first, second):
    """The IoU of two boxes, side by side."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return shared / (sum(areas) - shared)


def test_overlaps():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate([start, start + size], axis=1)
                     for start, size in rng.uniform(1, 50, (2, 2, 9, 2)))
    expected = [[plain_iou(box, other) for other in second] for box in first]
    np.testing.assert_allclose(overlaps(first, second), expected, rtol=1e-12)
    assert overlaps(first, np.empty(0)).shape == (9, 0)


def test_iou_of_boxes_without_an_area():
    point, turned = [3., 3, 3, 3], [9., 9, 1, 1]
    assert overlaps([point, turned], [point, turned, box(0, 0)]).max() == 0


def test_numbers_are_in_the_order_given_and_stay():
    frames = [[box(10 + 3 * t, 50), box(100, 100 - 3 * t), box(200, 10)]
              for t in range(8)]
    assert follow(Tracker(), frames) == [[0, 1, 2]] * 8
    # a detector sorts by score, so that the order changes
    assert follow(Tracker(), [frames[0], frames[1][::-1]])[1] == [2, 1, 0]


def test_crossing():
    """Two objects of a class pass each other, one a little lower."""
    frames = [[box(4 * t, 50), box(80 - 4 * t, 56)] for t in range(21)]
    closest = frames[10]
    assert overlaps(closest[:1], closest[1:])[0, 0] > 0.5
    shuffled = [one[::-1] if t % 3 == 1 else one
                for t, one in enumerate(frames)]
    assert follow(Tracker(), shuffled) == [
        [1, 0] if t % 3 == 1 else [0, 1] for t in range(21)]


def test_best_pairs_together_not_one_after_the_other():
    """The first box overlaps most with the track of the second, which then
    would have none."""
    tracker = Tracker(min_iou=0.1)
    follow(tracker, [[box(0, 0), box(12, 0)]])
    second = [box(8, 0), box(18, 0)]
    overlap = overlaps(np.array(second), np.array([box(0, 0), box(12, 0)]))
    assert overlap[0].argmax() == 1 and overlap[1].argmax() == 1
    assert follow(tracker, [second]) == [[0, 1]]


@pytest.mark.parametrize('missed, number', [(1, 0), (5, 0), (6, 2)])
def test_object_that_vanishes_and_returns(missed, number):
    tracker = Tracker(patience=5)
    other = box(100, 100)
    frames = [[box(10, 10), other], *[[other]] * missed,
              [box(12, 10), other]]
    assert follow(tracker, frames)[-1] == [number, 1]


def test_frames_without_objects():
    tracker = Tracker()
    assert follow(tracker, [[], [box(0, 0)], [], [], [box(1, 0)]]) == [
        [], [0], [], [], [0]]


def test_class_changes_make_another_object():
    tracker = Tracker()
    place = [[box(10, 10)]]
    assert follow(tracker, place, label=3) == [[0]]
    assert follow(tracker, place, label=4) == [[1]]
    assert follow(tracker, place, label=3) == [[0]]  # seen two frames ago
    both = np.array(place[0] * 2)
    assert tracker.update(both, np.array([4, 3])).tolist() == [1, 0]


def test_far_jump_is_another_object():
    assert follow(Tracker(), [[box(0, 0)], [box(19, 0)]]) == [[0], [1]]
    low = Tracker(min_iou=0.02)
    assert follow(low, [[box(0, 0)], [box(19, 0)]]) == [[0], [0]]


def test_forgets_what_is_gone():
    """Memory does not grow with a video's length."""
    tracker = Tracker(patience=2)
    follow(tracker, [[box(50 * t, 0)] for t in range(100)])
    assert len(tracker.tracks) == 3 and tracker.count == 100


def test_objects_that_move_on():
    """Each by more than its own size in a frame, once its course is known."""
    steps = [0, 4, 12, 24, 40, 60, 82, 104, 126, 148, 170]
    frames = [[box(step, 50), box(300 - step, 200)] for step in steps]
    assert overlaps(frames[-2], frames[-1]).max() == 0
    assert follow(Tracker(), frames) == [[0, 1]] * len(steps)
    # also while one is not found
    hidden = [*frames[:8], frames[8][:1], frames[9][:1], frames[10]]
    assert follow(Tracker(), hidden)[-1] == [0, 1]


def test_object_that_stands_still_is_found_where_it_was():
    """Its box trembles, so that it seems to move while it is missed."""
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for _ in range(40):
        trembling = np.array([box(50, 50)]) + rng.normal(0, 1, (1, 4))
        assert tracker.update(trembling, np.zeros(1)).tolist() == [0]
        for _ in range(9):
            tracker.update(np.empty((0, 4)), np.empty(0))


def test_new_objects_move_as_the_others_do():
    """A camera turns, and objects that come into the picture move by nearly
    their own size from the first frame on."""
    tracker = Tracker()
    known = {}
    for step, shift in enumerate((0, 8, 18, *range(34, 300, 16))):
        places = [place for place in range(-300, 300, 45)
                  if 0 <= place + shift < 280]
        (numbers, ) = follow(tracker, [[box(place + shift, 50)
                                        for place in places]])
        for place, number in zip(places, numbers):
            assert known.setdefault(place, number) == number, step
    assert len(known) > 10
