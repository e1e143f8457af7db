"""A GPU gives what the CPU gives, and with TF32 roughly."""
import copy
from functools import lru_cache

import numpy as np
import pytest
import torch
from demo import ROOT, SCENE
from families import (
    DETECTIONS,
    FAMILIES,
    SIZE,
    batch_of,
    random_detector,
    random_image,
)
from naive import odam as naive_odam

from mmdet_diffmap import explain, load_detector
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.errors import explain_errors
from mmdet_diffmap.evaluation import (
    GroundTruth,
    ImageScorer,
    Methods,
    Protocol,
)
from mmdet_diffmap.explainers import DRISE, ODAM, build_explainer
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.lab.sanity import check_sanity
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.measuring import peak_memory

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='there is no CUDA device')

DEMOS = ('fcos', 'faster-rcnn', 'detr', 'retinanet-pvt')
METHODS = ('odam', 'grad-cam', 'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++',
           'layer-cam', 'hires-cam', 'xgrad-cam', 'eigen-cam',
           'eigen-grad-cam', 'ablation-cam')


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


@lru_cache
def demo(name, device):
    return load_detector(ROOT / f'configs/demo/{name}_scenes.py',
                         device=device)


def same_detections(instances, expected):
    torch.testing.assert_close(
        instances.bboxes.cpu(), expected.bboxes, rtol=0, atol=0.05)
    torch.testing.assert_close(
        instances.scores.cpu(), expected.scores, rtol=0, atol=1e-3)
    assert torch.equal(instances.labels.cpu(), expected.labels)


def test_a_gpu_is_chosen_where_there_is_one():
    model = load_detector(ROOT / 'configs/demo/fcos_scenes.py')
    assert next(model.parameters()).is_cuda


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('name', DEMOS)
def test_maps_are_those_of_the_cpu(name, method):
    instances, expected = (
        explain(demo(name, device), SCENE, method).pred_instances
        for device in ('cuda', 'cpu'))
    assert len(expected) > 1
    same_detections(instances, expected)
    for kind in 'heatmaps', 'difference_maps':
        torch.testing.assert_close(
            instances[kind].cpu(), expected[kind], rtol=0, atol=5e-3)


@pytest.mark.parametrize('layer', ['neck', 'backbone'])
@pytest.mark.parametrize('family', FAMILIES)
def test_equals_one_backward_per_output(family, layer):
    model = copy.deepcopy(random_detector(family)).cuda()
    data = batch_of(model, random_image(*SIZE))
    results, expected = naive_odam(model, data, DETECTIONS, layer)
    trace = DetectorAdapter(model, layer).trace(data)
    trace = trace.select(slice(DETECTIONS))
    torch.testing.assert_close(
        trace.detections.bboxes, results.bboxes.detach(), rtol=0, atol=1e-3)
    heatmaps = ODAM()(trace)
    assert heatmaps.is_cuda and expected.amax() == 1
    torch.testing.assert_close(heatmaps, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize('name', DEMOS)
def test_tf32_is_no_reason_for_the_slow_way(name, monkeypatch):
    model = demo(name, 'cuda')
    data = image_pipeline(model)(SCENE).batch
    ways = []
    for allowed in (False, True):
        monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', allowed)
        trace = DetectorAdapter(model).trace(data)
        ways.append((type(trace.gradients), ODAM()(trace)))
    assert ways[0][0] is ways[1][0]
    expected = explain(demo(name, 'cpu'), SCENE).pred_instances
    instances = explain(model, SCENE).pred_instances  # with TF32
    assert len(instances) == len(expected)
    correlation = np.corrcoef(instances.heatmaps.cpu().numpy().ravel(),
                              expected.heatmaps.numpy().ravel())[0, 1]
    assert correlation > 0.98


def test_d_rise():
    method = DRISE(masks=64, batch_size=16, progress=False)
    instances, expected = (
        explain(demo('fcos', device), SCENE, method).pred_instances
        for device in ('cuda', 'cpu'))
    torch.testing.assert_close(
        instances.heatmaps.cpu(), expected.heatmaps, rtol=0, atol=5e-3)


def test_d_rise_in_mixed_precision():
    method = DRISE(masks=64, progress=False, amp=True)
    mixed = explain(demo('fcos', 'cuda'), SCENE, method).pred_instances
    expected = explain(demo('fcos', 'cpu'), SCENE, DRISE(
        masks=64, progress=False)).pred_instances
    assert (mixed.heatmaps.cpu() - expected.heatmaps).abs().mean() < 0.02


def test_deletion_and_insertion():
    scene = render_scene(0, 2)
    nothing = [None] * len(scene.labels)
    truth = GroundTruth(torch.from_numpy(scene.boxes),
                        torch.from_numpy(scene.labels), nothing, nothing)
    scores = []
    for device in 'cuda', 'cpu':
        model = demo('fcos', device)
        methods = Methods({name: build_explainer(name)
                           for name in ('odam', 'odam-diff')})
        scorer = ImageScorer(model, methods, Protocol(), 32)
        scores.append(scorer(image_pipeline(model)(SCENE).batch, truth, 0)[1])
    gpu, cpu = (record['scores']['odam-diff'] for record in scores)
    for direction in 'deletion', 'insertion':
        for kind in 'target', 'others':
            curve = np.array(gpu[direction][kind], dtype=float)
            expected = np.array(cpu[direction][kind], dtype=float)
            assert curve.shape == expected.shape and expected.size
            # a pixel whose rank is decided by rounding changes little
            assert np.nanmean(abs(curve - expected)) < 5e-3


def test_sanity_check_takes_the_same_weights_away():
    checked, expected = (
        check_sanity(demo('fcos', device), [SCENE], {'odam': 'ODAM'},
                     Selection(max_objects=2)) for device in ('cuda', 'cpu'))
    assert checked.stages == expected.stages
    for figure, other in zip(checked.figures['odam']['rank_correlation'],
                             expected.figures['odam']['rank_correlation']):
        assert figure.mean == pytest.approx(other.mean, abs=0.02)


def test_nothing_stays_on_the_gpu():
    model = demo('faster-rcnn', 'cuda')
    explain(model, SCENE)
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        explain(model, SCENE)
    assert torch.cuda.memory_allocated() <= before + 1_000_000


def test_peak_memory():
    device = torch.device('cuda')
    with peak_memory(device) as peak:
        torch.zeros(1000, 1000, device=device)
        torch.zeros(2000, 1000, device=device)
    assert 8e6 <= peak.bytes <= 12.1e6


@pytest.mark.parametrize('name', DEMOS)
def test_errors_and_their_maps(name):
    """Of a scene with the classes of its objects exchanged, and one object
    that is nowhere."""
    scene = render_scene(0, 2)
    instances = [
        dict(bbox=box.tolist(), bbox_label=int(label))
        for box, label in zip(scene.boxes, np.roll(scene.labels, 1))]
    instances.append(dict(bbox=[0, 0, 12, 12], bbox_label=0))
    expected, found = (
        explain_errors(demo(name, device), scene.image, instances)
        for device in ('cpu', 'cuda'))
    assert [one.record.kind for one in found] == [
        one.record.kind for one in expected] and len(found) > 1
    for one, other in zip(found, expected):
        assert one.record.reason == other.record.reason
        for (question, values), (same, others) in zip(one.maps, other.maps):
            assert question.text.split()[0] == same.text.split()[0]
            torch.testing.assert_close(values.cpu(), others, rtol=0,
                                       atol=0.01)
