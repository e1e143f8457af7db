import pytest
import torch
from linear import no_input
from mmengine.structures import InstanceData

from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.tracing.trace import (
    OUTPUTS,
    LevelGradient,
    OutputGradient,
    Trace,
)


@pytest.fixture
def level():
    feature = torch.arange(2 * 5 * 6.).reshape(2, 5, 6)
    return LevelGradient(0, feature, torch.ones(2, 3, 2), top=1, left=4)


def test_window_of_a_level(level):
    assert torch.equal(level.activation, level.feature[:, 1:4, 4:6])
    placed = level.whole()
    assert placed.shape == level.feature.shape
    assert placed.sum() == level.gradient.sum()
    assert torch.equal(placed[:, 1:4, 4:6], level.gradient)
    ones = level.grid_map(torch.ones(3, 2)).whole()
    assert torch.equal(ones, placed[0])


def test_whole_level_is_its_own_place():
    whole = LevelGradient(0, torch.rand(2, 5, 6), torch.rand(2, 5, 6))
    assert whole.whole() is whole.gradient
    assert torch.equal(whole.activation, whole.feature)


def test_selection_and_columns():
    asked = []

    def source(outputs, columns):
        asked.append((outputs, columns))
        yield OutputGradient(0, 'x1', [])

    detections = InstanceData(
        scores=torch.tensor([.9, .5]), bboxes=torch.rand(2, 4))
    trace = Trace(detections, torch.rand(2, 5), [],
                  ImageFrame((8, 8), (8, 8), (8, 8)), no_input(), source)
    second = trace.select(torch.tensor([1]))
    assert len(second) == 1
    assert second.detections.scores.tolist() == [.5]
    list(second.gradients(['y2', 'score']))
    (outputs, columns), = asked
    assert torch.equal(outputs, trace.outputs[1:])
    assert [OUTPUTS[column] for column in columns] == ['y2', 'score']
    with pytest.raises(ValueError, match='area'):
        list(second.gradients(['area']))
