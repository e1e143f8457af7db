import pytest
import torch
from demo import CONFIG, WEIGHTS, demo_detector
from families import (
    CONFIGS,
    batch_of,
    random_detector,
    random_image,
    small_config,
)
from mmengine.config import Config
from mmengine.hub import get_config
from torch import nn

from mmdet_diffmap import load_detector
from mmdet_diffmap.apis import class_names
from mmdet_diffmap.apis.loading import (
    build_detector,
    load_config,
)
from mmdet_diffmap.cli.explain_arguments import is_detector_name


def test_loads_the_bundled_detector():
    model = demo_detector()
    assert not model.training
    assert class_names(model)[0] == 'fish'
    weights = torch.load(WEIGHTS)['state_dict']
    name = 'bbox_head.conv_cls.weight'
    assert torch.equal(model.state_dict()[name], weights[name].float())


def test_config_object_and_options():
    model = load_detector(
        Config.fromfile(CONFIG), WEIGHTS, 'cpu',
        {'model.test_cfg.max_per_img': 2})
    assert model.test_cfg.max_per_img == 2


def test_config_of_the_caller_is_left_as_it_is():
    cfg = Config.fromfile(CONFIG)
    load_detector(cfg, WEIGHTS, 'cpu', {'model.test_cfg.max_per_img': 2})
    assert cfg.model.test_cfg.max_per_img == 50


def test_weights_named_by_the_config():
    cfg = Config.fromfile(CONFIG)
    cfg.load_from = str(WEIGHTS)
    load_detector(cfg, device='cpu')
    cfg.load_from = None
    with pytest.raises(ValueError, match='no weights for'):
        load_detector(cfg)


def test_weights_of_another_detector(tmp_path):
    file = tmp_path / 'yolox.pth'
    torch.save(random_detector('yolox').state_dict(), file)
    with pytest.raises(ValueError, match=r'yolox\.pth do not fit the config'):
        load_detector(CONFIG, file)


@pytest.mark.parametrize('name, weights', [
    ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', '821213aa.pth'),
    ('detr_r50_8xb2-150e_coco', '436d03e8.pth'),
    ('configs/fcos/fcos_r50_coco.py', None),
    # the wheel has these, and the zoo no weights for them
    ('mmdet::dino/dino-4scale_r50_8xb2-24e_coco.py', None),
    ('mmdet::faster_rcnn/faster-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco.py', None),
])
def test_zoo(name, weights):
    cfg, found = load_config(name)
    assert 'model' in cfg
    assert found.endswith(weights) if weights else found is None


@pytest.mark.parametrize('path, detector, weights', [
    ('fcos/fcos_r50_coco.py', 'FCOS', '821213aa.pth'),
    ('faster_rcnn/faster-rcnn_r50_coco.py', 'FasterRCNN', '047c8118.pth'),
    ('detr/detr_r50_coco.py', 'DETR', '436d03e8.pth'),
    ('pvt/retinanet_pvt-s_coco.py', 'RetinaNet', 'b6c94a5b.pth'),
])
def test_configs_of_the_paper(path, detector, weights):
    cfg = Config.fromfile(CONFIG.parents[1] / path)
    assert cfg.model.type == detector
    assert cfg.load_from.endswith(weights)
    assert cfg.custom_hooks[0].type == 'ExplainHook'
    assert 'mmdet_diffmap' in cfg.custom_imports.imports


@pytest.mark.parametrize('name, message', [
    ('no-such-model', 'is no config file, no config of mmdet'),
    ('mmdet::no/such.py', 'is no config of an installed package'),
    ('nothing::no/such.py', 'is no config of an installed package'),
])
def test_unknown_model(name, message):
    with pytest.raises(ValueError, match=f'{name} {message}'):
        load_detector(name)


def test_models_of_the_zoo_that_are_not_complete():
    with pytest.raises(ValueError, match='no weights for dino-4scale_r50_8x'):
        load_detector('dino-4scale_r50_8xb2-24e_coco')
    with pytest.raises(ValueError, match='installed without its config'):
        load_detector('faster-rcnn_r101_fpn_gn-ws-all_1x_coco')


@pytest.mark.parametrize('name, expected', [
    ('configs/my.py', True),
    ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', True),
    ('detr_r50_8xb2-150e_coco', True),
    ('mask-rcnn_regnetx-3.2GF_fpn_1x_coco', True),  # with a dot
    ('dino-4scale_r50_8xb2-24e_coco', True),  # without weights
    ('faster-rcnn_r101_fpn_gn-ws-all_1x_coco', True),  # without a config
    ('photo.jpg', False),
    ('photos', False),
    ('scene://0/1', False),
])
def test_names_of_detectors(name, expected):
    assert is_detector_name(name) is expected


def test_folder_is_no_detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'detr_r50_8xb2-150e_coco').mkdir()
    assert not is_detector_name('detr_r50_8xb2-150e_coco')


def test_missing_config():
    with pytest.raises(FileNotFoundError, match=r'config no\.py does not ex'):
        load_detector('no.py')


def test_config_without_a_model(tmp_path):
    (tmp_path / 'a.py').write_text('x = 1\n')
    for name in (tmp_path / 'a.py', 'mmdet::_base_/default_runtime.py'):
        with pytest.raises(ValueError, match='describes no model'):
            load_detector(name)


def test_option_without_a_place():
    with pytest.raises(ValueError, match='the config has no place for'):
        load_detector(CONFIG, WEIGHTS, cfg_options={
            'test_dataloader.dataset.pipeline.99.scale': 1})


@pytest.mark.parametrize('text, message', [
    ('x = (', 'cannot be read'),
    ('raise KeyError("oops")', 'cannot be read: .*oops'),
    ("_base_ = ['missing.py']", 'cannot be read: .*missing'),
])
def test_config_that_cannot_be_read(text, message, tmp_path):
    (tmp_path / 'a.py').write_text(text)
    with pytest.raises(ValueError, match=rf'a\.py {message}'):
        load_detector(tmp_path / 'a.py')


@pytest.mark.parametrize('options, message', [
    ({'model.neck.type': 'NoNeck'}, 'NoNeck is not in the'),
    ({'model.neck.colour': 1}, "unexpected keyword argument 'colour'"),
    ({'model.neck.num_outs': 1}, 'a failed AssertionError'),
])
def test_model_that_cannot_be_built(options, message):
    with pytest.raises(ValueError, match=f'cannot be built: .*{message}'):
        load_detector(CONFIG, WEIGHTS, cfg_options=options)


@pytest.mark.parametrize('device', ['cuda:77', 'toaster'])
def test_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=f'device {device} cannot be used'):
        load_detector(CONFIG, WEIGHTS, device)


def test_model_without_class_names():
    with pytest.raises(ValueError, match='does not know its classes'):
        class_names(nn.Linear(1, 1))


def test_synchronised_norms_are_built_without_a_process_group():
    cfg = small_config(CONFIGS['fcos'])
    cfg.model.bbox_head.norm_cfg = dict(type='MMSyncBN')
    kinds = {type(one).__name__ for one in build_detector(cfg).modules()}
    assert not any('SyncB' in kind for kind in kinds)
    assert cfg.model.bbox_head.norm_cfg.type == 'MMSyncBN'


@pytest.mark.slow
def test_ssd_predicts():
    cfg = get_config('mmdet::ssd/ssd300_coco.py')
    cfg.model.backbone.init_cfg = None
    model = build_detector(cfg).eval()
    with torch.no_grad():
        (found, ) = model.test_step(batch_of(model, random_image(60, 80)))
    assert found.pred_instances.bboxes.shape[1] == 4
