"""Maps of what keeps two objects apart: the parts of the comparison on cases
that can be read off, and all of it on a few scenes."""
import numpy as np
import pytest
import torch
from demo import CONFIG
from mmengine.structures import InstanceData

from mmdet_diffmap import load_detector
from mmdet_diffmap.cli.check_separation import scenes, table_of
from mmdet_diffmap.lab.separation import (
    CONTROLS,
    FILLS,
    FORMULATIONS,
    PairCase,
    compare_separation,
    controls,
    facing_sides,
    inside,
    overlapping_pairs,
    share,
    what_is_left,
)

LEFT, RIGHT, BOTH = [0., 0., 10., 8.], [10., 0., 20., 8.], [0., 0., 20., 8.]


def instance(box, label=1, **kwargs):
    return dict(bbox=box, bbox_label=label, **kwargs)


def found(*boxes, label=1, score=0.9):
    return InstanceData(
        bboxes=torch.tensor(boxes).view(-1, 4),
        labels=torch.full((len(boxes), ), label),
        scores=torch.full((len(boxes), ), score))


def outcome(detections):
    left = what_is_left(detections, torch.tensor([LEFT, RIGHT]), 1, 0.3)
    assert left['lost'] == (left['one'] and not left['both'])
    return [name for name in ('both', 'one', 'merged') if left[name]]


def test_what_is_left_of_a_pair():
    assert outcome(found(LEFT, RIGHT)) == ['both', 'one']
    assert outcome(found(LEFT)) == ['one']
    assert outcome(found(BOTH)) == ['merged']
    assert outcome(found(LEFT, BOTH)) == ['one', 'merged']
    assert outcome(found(LEFT, RIGHT, BOTH)) == ['both', 'one']
    assert outcome(found()) == []
    assert outcome(found(LEFT, RIGHT, label=2)) == []
    assert outcome(found(LEFT, RIGHT, score=0.2)) == []


def test_one_detection_is_not_both():
    near = torch.tensor([[0., 0., 10., 8.], [1., 0., 11., 8.]])
    left = what_is_left(found([0.5, 0., 10.5, 8.]), near, 1, 0.3)
    assert left['one'] and not left['both']


def test_pairs_are_of_a_class_and_overlap():
    far = [30., 0., 40., 8.]
    instances = [instance(LEFT), instance([8., 0., 18., 8.]), instance(far),
                 instance([9., 0., 19., 8.], label=2),
                 instance([7., 0., 17., 8.], ignore_flag=1)]
    assert overlapping_pairs(instances) == [(0, 1)]
    assert overlapping_pairs([]) == []


@pytest.mark.parametrize('boxes, sides', [
    ([LEFT, RIGHT], (2, 0)), ([RIGHT, LEFT], (0, 2)),
    ([[0., 0., 9., 9.], [2., 12., 9., 20.]], (3, 1)),
    ([[2., 12., 9., 20.], [0., 0., 9., 9.]], (1, 3))])
def test_sides_that_face_each_other(boxes, sides):
    assert facing_sides(torch.tensor(boxes)) == sides


def test_controls_know_no_detector():
    boxes = torch.tensor([LEFT, RIGHT])
    heatmaps = torch.rand(2, 12, 24)
    cue = np.zeros((12, 24), bool)
    cue[:8, 9:11] = True
    union = inside(boxes, (12, 24))
    assert union.sum() == 160 and not union[8:].any()
    maps = controls(boxes, heatmaps, cue, union, np.random.default_rng(0))
    assert set(maps) == set(CONTROLS)
    line = maps['middle line']
    # the two columns beside x = 10 are nearest to the line, alike
    torch.testing.assert_close(line[:, 9], line[:, 10])
    assert (line[:, 9:11].amin() > line[:, :9].amax()).all()
    assert torch.equal(maps['one object'], heatmaps[0])
    on_cue = torch.from_numpy(cue)
    assert share(union.float(), on_cue) == pytest.approx(10)
    assert share(maps['cue'], on_cue) == 100


@pytest.fixture(scope='module')
def detector():
    return load_detector(CONFIG.with_name('fcos_pairs.py'), device='cpu')


@pytest.fixture(scope='module')
def figures(detector):
    return compare_separation(detector, scenes(4, detector), FILLS,
                              shares=(0.1, 0.3))


@pytest.mark.slow
def test_the_true_cue_joins_two_objects(figures):
    """And the common part of both heat maps more than either map alone; with
    noise in the place of pixels, nothing does."""
    assert figures.pairs >= 3
    merged = {name: figures.of_maps[name, 'hidden', 'merged'].mean
              for name in (*FORMULATIONS, *CONTROLS)}
    assert merged['cue'] > 50 and merged['random'] < 20
    assert merged['common extents'] > merged['odam'] + 20
    assert merged['common extents'] > merged['difference'] + 20
    assert figures.of_maps['cue', 'noise', 'merged'].mean < 20
    on_cue = {name: value.mean for name, value in figures.on_cue.items()}
    assert on_cue['cue'] == 100 and 3 < on_cue['area'] < 12
    assert on_cue['common score'] > 2 * on_cue['area']
    for fill in FILLS:
        for name in merged:
            both, one, lost = (figures.of_maps[name, fill, each].mean
                               for each in ('both', 'one', 'lost'))
            assert 0 <= both <= one <= 100
            assert lost == pytest.approx(one - both)


@pytest.mark.slow
def test_table(figures):
    table = table_of(figures, FILLS)
    head, _, *rows = table.splitlines()
    assert len(rows) == len(FORMULATIONS) + len(CONTROLS)
    assert 'energy on the cue' in head
    assert all(row.count('|') == head.count('|') for row in rows)


def test_no_pair(detector):
    case = next(scenes(1, detector))
    nothing = [PairCase(case.data, case.instances, []),
               PairCase(case.data, [instance([0., 0., 5., 5.]), *[
                   instance([1., 1., 6., 6.])]], [(0, 1)])]
    with pytest.raises(ValueError, match='of no pair both objects are found'):
        compare_separation(detector, nothing)
