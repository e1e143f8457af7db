import pytest
from demo import ROOT
from mmengine.config import Config

from mmdet_diffmap.evaluation import TABLE_1, Methods

CONFIGS = sorted((ROOT / 'configs').glob('*/*_del-ins_coco.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_of_the_papers_detectors(path):
    cfg = Config.fromfile(path)
    assert cfg.test_cfg.type == 'ExplanationTestLoop'
    assert cfg.test_evaluator.type == 'ExplanationMetric'
    assert cfg.load_from.startswith('https://download.openmmlab.com/')
    assert cfg.test_dataloader.dataset.ann_file.endswith('val2017.json')
    assert not cfg.custom_hooks  # nothing else is explained on the way


def test_there_is_one_for_each():
    assert [path.parent.name for path in CONFIGS] == [
        'detr', 'faster_rcnn', 'fcos', 'pvt']


def test_published_figures_are_of_the_methods_that_are_measured():
    cfg = Config.fromfile(ROOT / 'configs/fcos/fcos_r50_del-ins_coco.py')
    published = cfg.test_evaluator.published
    assert tuple(published) == TABLE_1
    assert published['odam-diff'].deletion == dict(target=60.74, others=99.01)
    assert published['odam'].insertion == dict(target=46.06, others=3.14)


def test_variants_of_the_ablation():
    cfg = Config.fromfile(ROOT / 'configs/_base_/ablation.py')
    methods = Methods({**cfg.explainers, 'odam': 'odam'})
    assert methods.pairs == [
        ('odam-score-diff', 'odam-score'),
        ('odam-normalized-diff', 'odam-normalized'),
        ('odam-extents-diff', 'odam-extents'),
        ('odam-positive-diff', 'odam')]
