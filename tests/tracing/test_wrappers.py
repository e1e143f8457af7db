"""Detectors inside of what torch and mmengine wrap around them."""
import pytest
import torch
from demo import SCENE, demo_detector
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmdet_diffmap import explain
from mmdet_diffmap.apis import class_names, explain_files
from mmdet_diffmap.tracing.detector import unwrapped


class Wrapper(nn.Module):
    """Holds a detector as the wrapper of a distributed run does, without the
    processes that one needs."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def distributed(model):
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    return wrapper


WRAPPERS = dict(
    data_parallel=lambda model: nn.DataParallel(model),
    compiled=lambda model: torch.compile(model, backend='eager'),
    distributed=distributed,
    both=lambda model: nn.DataParallel(
        torch.compile(model, backend='eager')))


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_explained_as_the_detector_inside(wrap, tmp_path):
    model = demo_detector()
    wrapped = wrap(model)
    assert unwrapped(wrapped) is model
    assert class_names(wrapped) == class_names(model)
    instances, expected = (explain(one, SCENE).pred_instances
                           for one in (wrapped, model))
    for name in ('bboxes', 'heatmaps', 'difference_maps'):
        assert torch.equal(instances[name], expected[name])
    assert not explain_files(wrapped, [SCENE], tmp_path)
    assert (tmp_path / 'vis/2.png').is_file()


def test_a_module_of_that_name_is_no_wrapper():
    model = Wrapper(nn.Linear(1, 1))
    assert unwrapped(model) is model
    with pytest.raises(ValueError, match=r'set model\.cfg to its config'):
        explain(model, SCENE)
