from demo import CONFIG, demo_detector
from mmengine.config import Config

from mmdet_diffmap.evaluation.settings import run_settings


def settings(**model):
    cfg = Config.fromfile(CONFIG)
    cfg.model.update(model)
    return run_settings(cfg, demo_detector(), None, score_thr=0.3)


def test_where_weights_came_from_is_no_setting():
    init = dict(type='Pretrained', checkpoint='/one/folder/x.pth')
    assert settings(init_cfg=init) == settings()
    backbone = dict(Config.fromfile(CONFIG).model.backbone, init_cfg=init)
    assert settings(backbone=backbone) == settings()


def test_what_a_model_is_made_of_is_a_setting():
    assert settings(test_cfg=dict(score_thr=0.5)) != settings()


def test_what_is_measured_is_a_setting():
    assert settings()['score_thr'] == 0.3
