import pytest
import torch
from families import DETECTIONS, FAMILIES, batch_of, random_detector, random_image
from naive import odam as naive_odam

from mmdet_diffmap.detector import DetectorAdapter
from mmdet_diffmap.explainers import ODAM


@pytest.mark.parametrize('size', [(75, 130), (131, 61)])
@pytest.mark.parametrize('family', FAMILIES)
def test_equals_one_backward_per_output(family, size):
    model = random_detector(family)
    data = batch_of(model, random_image(*size))
    results, expected = naive_odam(model, data, DETECTIONS)
    trace = DetectorAdapter(model).trace(data).select(slice(DETECTIONS))
    heatmaps = ODAM()(trace)
    assert len(trace) == len(results) == DETECTIONS
    torch.testing.assert_close(
        trace.detections.bboxes, results.bboxes.detach(), rtol=0, atol=1e-4)
    assert expected.amax() == 1
    torch.testing.assert_close(heatmaps, expected, rtol=1e-5, atol=1e-5)
