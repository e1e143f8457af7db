"""The methods against the package grad-cam, run on the uncut detectors."""
import copy
from functools import lru_cache

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from demo import ROOT, SCENE
from naive import forward, one_stage, preprocess, two_stage
from torch import nn
from torchvision.ops import box_iou

from mmdet_diffmap import load_detector
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.ablation_cam import channel_numbers
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.explainers.explainer import JOINT
from mmdet_diffmap.tracing.detector import DetectorAdapter

DETECTORS = ('fcos', 'faster-rcnn')
COUNT = 4
ALIKE = 0.9999  # correlation


@lru_cache
def demo(name):
    """A detector whose parameters need no gradients, and a batch."""
    model = load_detector(
        ROOT / f'configs/demo/{name}_scenes.py', device='cpu')
    model.requires_grad_(False)
    return model, image_pipeline(model)(SCENE).batch


@lru_cache
def trace_of(name, layer='neck'):
    model, batch = demo(name)
    return Selection(0, COUNT)(DetectorAdapter(model, layer).trace(batch))


def grids(explainer, trace):
    """Our maps on the levels, before they are enlarged, by level and
    detection."""
    grids = explainer.maps(trace, by_output=True).grids
    return {(maps.windows.level, detection): values.numpy()
            for maps in grids[JOINT]
            for detection, values in zip(maps.windows.detections,
                                         maps.spread().values)}


def correlation(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


class Layer(nn.Module):
    """What is explained: it gives what it gets, with a graph."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, feature):
        return feature * self.one


class ScoresOfLevel(nn.Module):
    """From the map of one level to the scores of the detections."""

    def __init__(self, name, level):
        super().__init__()
        self.model, batch = copy.deepcopy(demo(name)[0]), demo(name)[1]
        features, _, self.meta, _ = forward(self.model, batch, 'neck')
        self.features = [feature.detach() for feature in features]
        _, self.samples = preprocess(self.model, batch)
        self.level = level
        self.layer = Layer()

    def forward(self, feature):
        features = list(self.features)
        features[self.level] = self.layer(feature)
        if hasattr(self.model, 'roi_head'):
            results = two_stage(
                self.model, features, self.samples, [self.meta])
        else:
            results = one_stage(self.model, features, [self.meta])
        return results.scores[None]

    @property
    def feature(self):
        return self.features[self.level]


@lru_cache
def scores_of_level(name, level):
    return ScoresOfLevel(name, level)


def theirs(kind, name, level, detection):
    """The package's map of a detection on a level, in its range, and what it
    is made from."""
    model = scores_of_level(name, level)
    cam = getattr(pytorch_grad_cam, kind)(model, [model.layer])
    (values, ) = cam(model.feature, [lambda scores: scores[detection]])
    np.testing.assert_allclose(  # it explains the same detection
        cam.outputs[0, detection].item(),
        trace_of(name).detections.scores[detection].item(), rtol=1e-4)
    (activations, ) = cam.activations_and_grads.activations
    gradients = [each.numpy() for each in cam.activations_and_grads.gradients]
    return values, cam.get_cam_image(
        None, None, None, activations.numpy(),
        gradients[0] if gradients else None, False)


@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.parametrize('kind', [
    'GradCAM', 'LayerCAM', 'HiResCAM', 'XGradCAM'])
def test_maps_from_gradients(kind, name):
    ours = grids(build_explainer(kind), trace_of(name))
    assert {detection for _, detection in ours} == set(range(COUNT))
    for (level, detection), values in ours.items():
        expected, _ = theirs(kind, name, level, detection)
        assert expected.shape == values.shape and values.any()
        assert correlation(values, expected) > ALIKE, (level, detection)


@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.parametrize('kind', ['EigenCAM', 'EigenGradCAM'])
def test_principal_components(kind, name):
    """Up to the sign, which is arbitrary."""
    ours = grids(build_explainer(kind), trace_of(name))
    assert {detection for _, detection in ours} == set(range(COUNT))
    for (level, detection), values in ours.items():
        _, (projection, ) = theirs(kind, name, level, detection)
        assert values.any()
        assert max(
            correlation(values, np.maximum(sign * projection, 0))
            for sign in (1, -1)) > ALIKE, (level, detection)


class CandidatesOf(nn.Module):
    """From an image to the candidates before suppression, as the head itself
    gives them."""

    def __init__(self, name):
        super().__init__()
        self.model = copy.deepcopy(demo(name)[0])
        inputs, (sample, ) = preprocess(self.model, demo(name)[1])
        self.inputs, self.sample = inputs, sample

    def forward(self, images):
        features = self.model.extract_feat(images)
        metas = [self.sample.metainfo for _ in images]
        if not hasattr(self.model, 'roi_head'):
            head = self.model.bbox_head
            return [(each.bboxes, each.scores, each.labels)
                    for each in head.predict_by_feat(
                        *head(features), batch_img_metas=metas, rescale=False,
                        with_nms=False)]
        proposals = self.model.rpn_head.predict(
            features, [self.sample.clone() for _ in images], rescale=False)
        return [
            self.of_regions(each) for each in
            self.model.roi_head.predict_bbox(features, metas, proposals, None)
        ]

    def of_regions(self, results):
        """Each region is a candidate for each class."""
        threshold = self.model.roi_head.test_cfg.score_thr
        scores = results.scores[:, :-1]
        regions, labels = (scores > threshold).nonzero().T
        places = results.bboxes.view(len(scores), -1, 4)
        return places[regions, labels], scores[regions, labels], labels


def best_score(box, label):
    """What the package is to explain: the best score of a detection's
    candidates."""

    def target(candidates):
        bboxes, scores, labels = candidates
        same = (labels == label) & (box_iou(box[None], bboxes)[0] > 0.5)
        return scores[same].max() if same.any() else torch.zeros(())

    return target


@pytest.mark.parametrize('name', DETECTORS)
def test_ablation(name):
    """On a layer that ends in a ReLU: where values may be negative, the
    package puts large negative ones in the place of zeros."""
    layer = 'backbone.layer2'
    trace = trace_of(name, layer)
    (feature, ) = trace.features
    assert feature.min() == 0
    explainer = build_explainer('ablation-cam', target_layer=layer)
    weights = explainer.channel_weights(
        trace, channel_numbers([len(feature)]))
    ours = grids(explainer, trace)
    model = CandidatesOf(name)
    target_layer = model.model.backbone.layer2
    cam = pytorch_grad_cam.AblationCAM(model, [target_layer], batch_size=40)
    shown = 0
    for detection in range(2):
        target = best_score(trace.outputs[detection, 1:].detach(),
                            trace.detections.labels[detection])
        (expected, ) = cam.get_cam_weights(
            model.inputs, target_layer, [target], feature[None].numpy(), None)
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(weights[detection], expected, atol=1e-6)
        values = np.tensordot(expected, feature.numpy(), 1).clip(0)
        if values.any():
            assert correlation(ours[0, detection], values) > ALIKE
            shown += 1
    assert shown
