"""The page's fast way for a head of one's own, from outside of the package."""
import re

import pytest
import torch
from demo import ROOT, SCENE, demo_detector
from torch import nn

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.registry import HEAD_RUNS
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import (
    CoupledGradients,
    WholeGradients,
    WindowGradients,
)
from mmdet_diffmap.tracing.heads import HeadRun, WholeRun, head_run
from mmdet_diffmap.tracing.trace import whole_gradients

PAGE = (ROOT / 'docs/adding-a-detector.md').read_text()


def code(name):
    """The page's Python of a file."""
    return re.search(rf'```python\n# {name}\n(.*?)```', PAGE, re.S)[1]


@pytest.fixture
def finding():
    """The page's detector, with the weights of the bundled one."""
    from mmdet.registry import MODELS
    names = {}
    try:
        exec(code(r'finding\.py'), names)
        model = demo_detector()
        detector = names['Finding'].__new__(names['Finding'])
        nn.Module.__init__(detector)
        detector.__dict__.update(
            {name: value for name, value in vars(model).items()
             if name != '_modules'})
        detector._modules = dict(model._modules)
        detector.finder = detector._modules.pop('bbox_head')
        yield detector.eval()
    finally:
        MODELS.module_dict.pop('Finding', None)


@pytest.fixture
def plugin():
    """The page's head run, as long as the test runs."""
    try:
        exec(code(r'finding_run\.py'), {})
        yield
    finally:
        HEAD_RUNS.module_dict.pop('FinderRun', None)


def gradients(trace):
    return {(*key, level): gradient
            for key, levels in whole_gradients(
                trace.select(slice(2)).gradients()).items()
            for level, gradient in levels.items()}


def test_without_the_plugin_all_is_traced(finding):
    assert isinstance(head_run(finding), WholeRun)
    trace = DetectorAdapter(finding).trace(
        image_pipeline(demo_detector())(SCENE).batch)
    assert isinstance(trace.source, WholeGradients)


@pytest.mark.parametrize('statistics, source', [
    ('exact', CoupledGradients), ('frozen', WindowGradients)])
def test_the_plugin_gives_the_fast_way(finding, plugin, statistics, source):
    data = image_pipeline(demo_detector())(SCENE).batch
    trace = DetectorAdapter(finding, 'neck', statistics).trace(data)
    assert isinstance(trace.source.source, source)
    expected = DetectorAdapter(demo_detector(), 'neck', statistics).trace(data)
    assert torch.equal(trace.detections.bboxes, expected.detections.bboxes)
    ours, theirs = gradients(trace), gradients(expected)
    assert ours.keys() == theirs.keys() and len(ours) >= 10
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient)


def test_the_plugin_equals_the_whole_prediction(finding, plugin):
    data = image_pipeline(demo_detector())(SCENE).batch
    adapter = DetectorAdapter(finding)
    ours = gradients(adapter.trace(data))
    for key, gradient in gradients(
            adapter.trace(data, run=WholeRun(finding))).items():
        scale = gradient.abs().max()
        assert (ours.get(key, 0) - gradient).abs().max() <= 1e-3 * scale, key


def test_others_take_the_way_that_they_took(plugin):
    assert type(head_run(demo_detector())).__name__ == 'LevelHeadRun'


def test_a_run_has_to_say_what_it_is_for():
    with pytest.raises(NotImplementedError, match='HeadRun does not say'):
        HeadRun.of(demo_detector(), 'exact', None)
