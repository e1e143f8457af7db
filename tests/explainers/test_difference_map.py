import torch
from families import batch_of, random_detector, random_image

from mmdet_diffmap import difference_map
from mmdet_diffmap.explainers import ODAM, DifferenceMap
from mmdet_diffmap.tracing.detector import DetectorAdapter


def test_is_the_difference_map_of_its_explainer():
    model = random_detector('yolox')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(75, 130))).select(slice(3))
    heatmaps = ODAM()(trace)
    for positive in (False, True):
        maps = DifferenceMap('odam', positive=positive)(trace)
        torch.testing.assert_close(
            maps, difference_map(heatmaps, positive), rtol=0, atol=0)
