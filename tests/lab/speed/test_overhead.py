import pytest
from families import batch_of, random_detector, random_image

from mmdet_diffmap.explainers import DRISE
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.lab.speed import measure_overhead


@pytest.mark.parametrize('family', ['yolox', 'faster_rcnn', 'detr'])
def test_figures_of_unlike_families(family):
    model = random_detector(family)
    overhead = measure_overhead(
        model, batch_of(model, random_image(75, 130)),
        DRISE(masks=6, batch_size=4, progress=False), Selection(0, 2),
        repeat=2)
    assert (overhead.objects, overhead.masks) == (2, 6)
    assert overhead.bare > 0 and overhead.explain > 0 and overhead.ratio > 0
    assert overhead.memory > 0 and -1 <= overhead.reliability <= 1
    assert overhead.as_dict()['memory'] == overhead.memory


def test_open_number_of_masks():
    model = random_detector('yolox')
    with pytest.raises(ValueError, match='leave out max_masks'):
        measure_overhead(model, batch_of(model, random_image(75, 130)),
                         DRISE(masks=5, max_masks=9))
