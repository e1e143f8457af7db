import pytest
import torch
from linear import no_input
from mmengine.structures import InstanceData

from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.maps.windows import Windows
from mmdet_diffmap.tracing.level_gradients import LevelGradients, LevelWindows
from mmdet_diffmap.tracing.trace import (
    OUTPUTS,
    OutputGradients,
    Trace,
    whole_gradients,
)


@pytest.fixture
def level():
    """Two windows of a level, of which one reaches over its border."""
    feature = torch.arange(2 * 5 * 6.).reshape(2, 5, 6)
    windows = Windows(0, (5, 6), (7, 3), ((1, 4), (3, -1)), (3, 2),
                      feature.device)
    gradients = windows.inside[:, None].float().expand(-1, 2, -1, -1)
    return LevelGradients(gradients, LevelWindows(feature, windows))


def test_windows_of_a_level(level):
    first, second = level.activations
    assert torch.equal(first, level.feature[:, 1:4, 4:6])
    assert torch.equal(second[:, :2, 1:], level.feature[:, 3:, :1])
    assert not second[:, 2].any() and not second[..., 0].any()
    placed = level.spread()
    assert placed.gradients.shape == (2, 2, 5, 6)
    expected = torch.zeros(2, 2, 5, 6)
    expected[0, :, 1:4, 4:6] = 1
    expected[1, :, 3:, :1] = 1
    assert torch.equal(placed.gradients, expected)
    assert placed.windows.detections == (7, 3)
    ones = level.grid_maps(level.gradients[:, 0]).spread().values
    assert torch.equal(ones, expected[:, 0])


def test_whole_level_is_its_own_place():
    feature = torch.rand(2, 5, 6)
    whole = LevelGradients(torch.rand(3, 2, 5, 6),
                           LevelWindows.whole_level(0, feature, range(3)))
    assert whole.spread() is whole
    assert torch.equal(whole.activations, feature[None])


def test_parts_of_gradients_are_the_gradients(level):
    many = list(level.split(0))
    assert [part.windows.detections for part in many] == [(7, ), (3, )]
    assert torch.equal(torch.cat([part.spread().gradients for part in many]),
                       level.spread().gradients)
    assert list(level.split(10**6)) == [level]
    assert torch.equal((-level).gradients, -level.gradients)


def test_selection_and_columns():
    asked = []

    def source(outputs, columns, tolerance):
        asked.append((outputs, columns))
        yield OutputGradients('y2', [LevelGradients(
            torch.ones(1, 2, 3, 3),
            LevelWindows.whole_level(1, torch.rand(2, 3, 3), [0]))])

    detections = InstanceData(
        scores=torch.tensor([.9, .5]), bboxes=torch.rand(2, 4))
    trace = Trace(detections, torch.rand(2, 5), [],
                  ImageFrame((8, 8), (8, 8), (8, 8)), no_input(), source)
    second = trace.select(torch.tensor([1]))
    assert len(second) == 1
    assert second.detections.scores.tolist() == [.5]
    gradients = whole_gradients(second.gradients(['y2', 'score']))
    assert gradients.keys() == {(0, 'y2')}
    assert gradients[0, 'y2'].keys() == {1}
    (outputs, columns), = asked
    assert torch.equal(outputs, trace.outputs[1:])
    assert [OUTPUTS[column] for column in columns] == ['y2', 'score']
    with pytest.raises(ValueError, match="no output 'size'"):
        list(second.gradients(['size']))
