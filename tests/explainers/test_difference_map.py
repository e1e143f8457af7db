import torch
from families import trace_of

from mmdet_diffmap import difference_map
from mmdet_diffmap.explainers import ODAM, DifferenceMap


def test_is_the_difference_map_of_its_explainer():
    trace = trace_of('yolox').select(slice(3))
    heatmaps = ODAM()(trace)
    for positive in (False, True):
        maps = DifferenceMap('odam', positive=positive)(trace)
        torch.testing.assert_close(
            maps, difference_map(heatmaps, positive), rtol=0, atol=0)
