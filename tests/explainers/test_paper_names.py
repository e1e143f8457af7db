import pytest

from mmdet_diffmap.evaluation import TABLE_1
from mmdet_diffmap.explainers.explainer import method_name
from mmdet_diffmap.explainers.paper_names import PAPER_NAMES, paper_name
from mmdet_diffmap.registry import EXPLAINERS


def test_every_method_of_the_package_has_a_name():
    EXPLAINERS.import_from_location()
    own = {method_name(kind) for kind in EXPLAINERS.module_dict.values()
           if kind.__module__.startswith('mmdet_diffmap.')}
    assert own == set(PAPER_NAMES)


def test_the_names_of_the_papers_table():
    assert [paper_name(name) for name in TABLE_1] == [
        'Grad-CAM', 'Grad-CAM + Diff', 'SSGrad-CAM', 'SSGrad-CAM + Diff',
        'SSGrad-CAM++', 'SSGrad-CAM++ + Diff', 'ODAM', 'ODAM + Diff']


@pytest.mark.parametrize('name, expected', [
    ('GradCAMPlusPlus', 'Grad-CAM++'), ('d_rise', 'D-RISE'),
    ('mine', 'mine'), ('plain-diff', 'plain-diff'), ('diff', 'diff')])
def test_names_in_any_spelling_and_of_ones_own(name, expected):
    assert paper_name(name) == expected
