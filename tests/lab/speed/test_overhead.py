import pytest
from families import FAMILIES, batch_of, random_detector, random_image

from mmdet_diffmap.explainers import DRISE
from mmdet_diffmap.lab.speed import measure_overhead


@pytest.mark.parametrize('family', FAMILIES)
def test_figures_of_every_family(family):
    model = random_detector(family)
    found = measure_overhead(
        model, batch_of(model, random_image(75, 130)),
        DRISE(masks=12, batch_size=5, progress=False), score_thr=-1,
        max_objects=2, repeat=2)
    assert (found.objects, found.masks) == (2, 12)
    assert found.bare > 0 and found.explain > 0 and found.ratio > 0
    assert found.memory > 0 and -1 <= found.reliability <= 1
    assert found.as_dict()['memory'] == found.memory


def test_open_number_of_masks():
    model = random_detector('yolox')
    with pytest.raises(ValueError, match='leave out max_masks'):
        measure_overhead(model, batch_of(model, random_image(75, 130)),
                         DRISE(masks=5, max_masks=9))
