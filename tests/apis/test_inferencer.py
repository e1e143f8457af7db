import inspect
import json
import os
import shutil
from functools import lru_cache

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from demo import CONFIG, SCENE, WEIGHTS, demo_detector
from mmdet.apis import DetInferencer
from mmengine.config import Config
from server import serving

from mmdet_diffmap import explain
from mmdet_diffmap.apis import class_names, read_image
from mmdet_diffmap.apis.inferencer import DiffMapInferencer
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.visualization import draw_explanations
from mmdet_diffmap.visualization.figure import TARGET

LISTS = ('labels', 'scores', 'bboxes')
MAPS = ('heatmaps', 'difference_maps')


@lru_cache
def ours():
    return DiffMapInferencer(str(CONFIG), str(WEIGHTS), 'cpu')


@lru_cache
def hosts():
    return DetInferencer(str(CONFIG), str(WEIGHTS), 'cpu', show_progress=False)


@pytest.fixture
def folder(tmp_path):
    """A folder of two scenes, and of another kind of file."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in (2, 3):
        cv2.imwrite(str(folder / f'{index}.png'),
                    read_image(f'scene://0/{index}'))
    (folder / 'note.txt').write_text('no image')
    return folder


def above(lists, threshold=0.3):
    """What of mmdet's predictions has a larger score."""
    kept = [i for i, score in enumerate(lists['scores']) if score > threshold]
    return {name: [lists[name][i] for i in kept] for name in LISTS}


def check_maps(prediction, instances):
    """Whether a prediction holds the maps of a result of ``explain``."""
    for name in MAPS:
        assert prediction[name].dtype == np.float16
        np.testing.assert_array_equal(
            prediction[name], instances[name].numpy().astype(np.float16))


def test_arguments_are_mmdets_and_ours():
    added = ['explainer', 'difference', 'target_layer', 'max_objects']
    for name in ('__init__', '__call__'):
        expected = inspect.signature(getattr(DetInferencer, name)).parameters
        found = inspect.signature(getattr(DiffMapInferencer, name)).parameters
        assert [one for one in found if one not in added] == list(expected)
        for key, one in expected.items():
            assert found[key].default == one.default
        assert set(found) - set(expected) == set(added)


@pytest.mark.parametrize('kind', [
    'file', 'path', 'array', *(pytest.param(kind, marks=pytest.mark.slow)
                               for kind in ('list', 'folder'))])
def test_detections_are_mmdets_and_maps_those_of_explain(kind, folder):
    files = [str(folder / f'{index}.png') for index in (2, 3)]
    inputs = dict(file=files[0], path=files[0], array=read_image(files[0]),
                  list=[files[0], read_image(files[1])],
                  folder=str(folder))[kind]
    expected = hosts()(inputs)['predictions']
    if kind == 'path':
        inputs = folder / '2.png'
    result = ours()(inputs)
    assert list(result) == ['predictions', 'visualization']
    assert result['visualization'] == []
    images = [one for one in os.listdir(folder) if one.endswith('.png')] \
        if kind == 'folder' else ['2.png', '3.png']
    assert len(result['predictions']) == len(expected) == (
        2 if kind in ('list', 'folder') else 1)
    for found, host, image in zip(result['predictions'], expected, images):
        assert list(found) == [*LISTS, *MAPS]
        assert {name: found[name] for name in LISTS} == above(host)
        assert len(found['scores']) > 1
        check_maps(found, explain(demo_detector(),
                                  folder / image).pred_instances)


def test_scenes_and_urls(folder):
    with serving(folder) as address:
        found = ours()([SCENE, f'{address}/2.png'])['predictions']
        with pytest.raises(OSError, match=r'no\.png cannot be downloaded'):
            ours()(f'{address}/no.png')
    for one in found:
        check_maps(one, explain(demo_detector(), SCENE).pred_instances)


@pytest.mark.slow
def test_real_photographs(real):
    config, weights = (str(real / f'yolox_nano_coco.{end}')
                       for end in ('py', 'pth'))
    paths = [str(one) for one in sorted((real / 'images').iterdir())[1:3]]
    expected = DetInferencer(config, weights, 'cpu', show_progress=False)(
        paths)['predictions']
    found = DiffMapInferencer(config, weights, 'cpu')(paths)['predictions']
    for path, one, host in zip(paths, found, expected):
        assert {name: one[name] for name in LISTS} == above(host)
        assert one['heatmaps'].shape[1:] == read_image(path).shape[:2]
        assert len(one['heatmaps']) == len(one['scores']) > 2


@pytest.mark.parametrize('images', [2, 3])
def test_batches(images):
    """Images of one size do not change each other."""
    paths = [f'scene://0/{index}' for index in range(images)]
    batched = ours()(paths, batch_size=2, return_datasamples=True)
    alone = [ours()(path, return_datasamples=True)['predictions'][0]
             for path in paths]
    assert len(batched['predictions']) == images
    for found, expected in zip(batched['predictions'], alone):
        assert found.img_path == expected.img_path
        for name in (*LISTS, *MAPS):
            torch.testing.assert_close(
                found.pred_instances[name], expected.pred_instances[name],
                rtol=1e-5, atol=1e-5)


def test_padding_of_a_batch_is_mmdets():
    paths = [read_image(SCENE), read_image(SCENE)[:100]]
    expected = hosts()(paths, batch_size=2)['predictions']
    found = ours()(paths, batch_size=2)['predictions']
    for one, host, image in zip(found, expected, paths):
        assert one['heatmaps'].shape[1:] == image.shape[:2]
        for name in LISTS:
            np.testing.assert_allclose(one[name], above(host)[name], rtol=1e-4,
                                       atol=1e-4)


def test_data_samples():
    sample = ours()(SCENE, return_datasamples=True)['predictions'][0]
    expected = explain(demo_detector(), SCENE)
    assert sample.ori_shape == expected.ori_shape
    for name in (*LISTS, *MAPS):
        assert torch.equal(sample.pred_instances[name],
                           expected.pred_instances[name])
        assert not sample.pred_instances[name].requires_grad


def test_configs_are_left_as_they_are():
    cfg = Config.fromfile(CONFIG)
    before = cfg.pretty_text
    inferencer = DiffMapInferencer(cfg, WEIGHTS, 'cpu')
    assert cfg.pretty_text == inferencer.model.cfg.pretty_text == before
    hosts_cfg = hosts().model.cfg  # mmdet's own is not
    assert hosts_cfg.test_dataloader.dataset.pipeline[0].type == \
        'mmdet.InferencerLoader'


def test_meta_of_the_data_set_is_mmdets():
    found, expected = (dict(one().model.dataset_meta)
                       for one in (ours, hosts))
    assert found == expected
    coloured = DiffMapInferencer(CONFIG, WEIGHTS, 'cpu', palette='voc')
    assert coloured.model.dataset_meta['palette'] == 'voc'


def test_threshold_and_number_of_objects():
    everything = ours()(SCENE, pred_score_thr=0.05)['predictions'][0]
    some = ours()(SCENE, max_objects=2)['predictions'][0]
    assert len(everything['scores']) > 2 == len(some['scores'])
    assert some['scores'] == everything['scores'][:2]
    check_maps(some, explain(demo_detector(), SCENE,
                             max_objects=2).pred_instances)
    none = ours()(SCENE, pred_score_thr=1, return_vis=True)
    assert none['predictions'][0]['heatmaps'].shape == (0, 192, 192)
    assert len(none['visualization']) == 1


@pytest.mark.parametrize('difference', ['positive', 'none', None])
def test_kinds_of_difference_maps(difference, tmp_path):
    result = ours()(SCENE, difference=difference, return_vis=True,
                    no_save_pred=False, out_dir=tmp_path, max_objects=2)
    (found, ) = result['predictions']
    maps = np.load(tmp_path / 'maps/2.npz')
    signed = ours()(SCENE, return_vis=True, max_objects=2)
    width = [one['visualization'][0].shape[1] for one in (result, signed)]
    assert width[0] < width[1]
    if difference == 'positive':
        check_maps(found, explain(
            demo_detector(), SCENE,
            dict(type='DifferenceMap', positive=True),
            max_objects=2).pred_instances)
        assert maps['difference_maps'].shape == maps['heatmaps'].shape
    else:
        assert list(found) == [*LISTS, 'heatmaps']
        np.testing.assert_array_equal(
            found['heatmaps'], signed['predictions'][0]['heatmaps'])
        assert 'difference_maps' not in maps
    # the call before does not change those that follow
    check_maps(signed['predictions'][0],
               explain(demo_detector(), SCENE, max_objects=2).pred_instances)


def test_arguments_of_a_call_override_the_constructors():
    inferencer = DiffMapInferencer(
        CONFIG, WEIGHTS, 'cpu', explainer='grad-cam', difference='none',
        target_layer='backbone.layer2', max_objects=1)
    (found, ) = inferencer(SCENE)['predictions']
    expected = explain(
        demo_detector(), SCENE,
        dict(type='GradCAM', target_layer='backbone.layer2'),
        max_objects=1).pred_instances
    np.testing.assert_array_equal(
        found['heatmaps'], expected.heatmaps.numpy().astype(np.float16))
    assert 'difference_maps' not in found
    (found, ) = inferencer(
        SCENE, explainer='odam', difference='signed', target_layer=None,
        max_objects=None)['predictions']
    check_maps(found, explain(demo_detector(), SCENE).pred_instances)


def test_difference_map_as_the_explainer():
    (found, ) = ours()(SCENE, explainer='grad-cam-diff')['predictions']
    check_maps(found, explain(demo_detector(), SCENE,
                              'grad-cam').pred_instances)


@pytest.mark.parametrize('options, message', [
    (dict(difference='x'), "difference must be signed, .*, not 'x'"),
    (dict(explainer='x'), "unknown explainer 'x'"),
    (dict(target_layer='necks'), "layer 'necks' does not exist"),
    (dict(explainer=dict(type='DifferenceMap', positive=True)),
     "give difference='positive'"),
])
def test_methods_that_do_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        DiffMapInferencer(CONFIG, WEIGHTS, 'cpu', **options)
    with pytest.raises(ValueError, match=message):
        ours()(SCENE, **options)


def test_target_layer_of_a_built_explainer():
    built = build_explainer('odam')
    ours()(SCENE, explainer=built, max_objects=1)
    with pytest.raises(ValueError, match='built already and cannot take t'):
        ours()(SCENE, explainer=built, target_layer='backbone')


def test_figures():
    """Those of the package, in true colours for files and arrays."""
    expected = draw_explanations(
        read_image(SCENE)[..., ::-1].copy(),
        explain(demo_detector(), SCENE).pred_instances,
        class_names(demo_detector()))
    for source in (SCENE, read_image(SCENE)):
        (figure, ) = ours()(source, return_vis=True)['visualization']
        assert figure.dtype == np.uint8
        np.testing.assert_array_equal(figure, expected)


def test_figures_without_boxes():
    for draw_pred in (True, False):
        (figure, ) = ours()(SCENE, return_vis=True,
                            draw_pred=draw_pred)['visualization']
        assert (figure == TARGET).all(axis=-1).any() == draw_pred


def test_figures_are_shown():
    plt.switch_backend('agg')
    ours()(SCENE, show=True, wait_time=1e-3, max_objects=1)
    shown = ours().visualizer.get_image()
    (figure, ) = ours()(SCENE, return_vis=True, max_objects=1)[
        'visualization']
    np.testing.assert_array_equal(shown, figure)
    plt.close('all')


def test_config_without_a_visualizer(tmp_path):
    cfg = Config.fromfile(CONFIG)
    cfg.pop('visualizer')
    inferencer = DiffMapInferencer(cfg, WEIGHTS, 'cpu')
    assert len(inferencer(SCENE, return_vis=True)['visualization']) == 1
    with pytest.raises(ValueError, match='no visualizer, which show needs'):
        inferencer(SCENE, show=True)


def files_in(folder):
    return sorted(str(one.relative_to(folder)) for one in folder.rglob('*.*'))


def test_files(folder, tmp_path):
    """Names do not meet: not those of two folders, not those of arrays in one
    call or several."""
    shutil.copytree(folder, tmp_path / 'other')
    out = tmp_path / 'out'
    inferencer = DiffMapInferencer(CONFIG, WEIGHTS, 'cpu', max_objects=2)
    inputs = [folder / '2.png', tmp_path / 'other/2.png', tmp_path / 'other/3'
              '.png', read_image(SCENE)]
    result = inferencer(inputs, out_dir=out, no_save_pred=False)
    assert result['visualization'] == []
    words = [str(one).replace('/', '_').replace('.', '_')
             for one in inputs[:2]]
    names = [*words, '3', '00000003']
    assert files_in(out) == sorted(
        f'{kind}/{name}.{end}' for name in names
        for kind, end in dict(vis='png', preds='json', maps='npz').items())
    for name, found in zip(names, result['predictions']):
        assert json.loads((out / f'preds/{name}.json').read_text()) == {
            key: found[key] for key in LISTS}
        maps = np.load(out / f'maps/{name}.npz')
        for key in MAPS:
            np.testing.assert_array_equal(maps[key], found[key])
    (figure, ) = inferencer(inputs[2], return_vis=True)['visualization']
    np.testing.assert_array_equal(
        read_image(str(out / 'vis/3.png'))[..., ::-1], figure)
    inferencer(read_image(SCENE), out_dir=out)
    assert 'vis/00000005.png' in files_in(out)


@pytest.mark.parametrize('options, kinds', [
    ({}, {'vis'}),
    (dict(no_save_vis=True), set()),
    (dict(no_save_vis=True, no_save_pred=False), {'preds', 'maps'}),
    (dict(return_datasamples=True, no_save_pred=False),
     {'vis', 'preds', 'maps'}),
])
def test_what_is_written(options, kinds, tmp_path):
    ours()(SCENE, out_dir=str(tmp_path), max_objects=1, **options)
    assert set(os.listdir(tmp_path)) == kinds


def test_output_folder_is_a_file(tmp_path):
    (tmp_path / 'out').write_text('')
    with pytest.raises(OSError, match='out cannot be made'):
        ours()(SCENE, out_dir=tmp_path / 'out')


def test_printed_without_maps(capsys):
    (found, ) = ours()(SCENE, print_result=True)['predictions']
    printed = capsys.readouterr().out.strip()
    assert printed == str(
        dict(predictions=[{name: found[name] for name in LISTS}]))


def test_images_that_cannot_be_explained(folder, tmp_path):
    (folder / 'bad.jpg').write_bytes(b'no image')
    (tmp_path / 'empty').mkdir()
    for source, message in [
        (str(folder / 'bad.jpg'), r'bad\.jpg is damaged'),
        (str(folder / 'no.jpg'), r'no\.jpg does not exist'),
        (str(folder / 'no'), 'no does not exist'),
        ('foo://a.jpg', 'there is no file backend for it'),
        (str(tmp_path / 'empty'), 'empty holds no image'),
    ]:
        with pytest.raises(OSError, match=message):
            ours()(source)
    for source, message in [
        (np.zeros((4, 4), np.uint8), r'\(H, W, 3\), not uint8 of \(4, 4\)'),
        (np.zeros((4, 4, 3), np.float32), 'not float32'),
        (np.zeros((1, 500, 3), np.uint8), r'resize an array of \(1, 500, 3'),
        (3, 'an input must be a path, a URL or an array, not int'),
    ]:
        with pytest.raises(ValueError, match=message):
            ours()(source)
    with pytest.raises(ValueError, match='batch_size must be at least 1'):
        ours()(SCENE, batch_size=0)
    with pytest.raises(ValueError, match='unknown argument'):
        ours()(SCENE, colour=3)
    assert ours()([]) == dict(predictions=[], visualization=[])


def test_texts_for_a_detector_that_takes_none():
    for name in ('texts', 'stuff_texts'):
        with pytest.raises(ValueError, match='FCOS has no language branch'):
            ours()(SCENE, **{name: 'a cat'})


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a checkpoint with some text for its config."""

    def write(text, **others):
        file = tmp_path / 'epoch_1.pth'
        content = torch.load(WEIGHTS)
        content['meta'] |= dict(cfg=text)
        torch.save(content | others, file)
        return file

    return write


def test_weights_alone(checkpoint):
    cfg = Config.fromfile(CONFIG)
    text = cfg.pretty_text
    hub = dict(message_hub=dict(runtime_info=dict(cfg=text)))
    for file in (checkpoint(text), checkpoint('', **hub)):
        inferencer = DiffMapInferencer(weights=file, device='cpu')
        assert inferencer.model.cfg.model == cfg.model
        check_maps(inferencer(SCENE)['predictions'][0],
                   explain(demo_detector(), SCENE).pred_instances)


@pytest.mark.parametrize('text, message', [
    ('import os', 'is a program'),
    ('a = print(1)', 'is a program'),
    ('a = [x for x in (1, 2)]', 'is a program'),
    ('a = dict(b=open("x"))', 'is a program'),
    ('a = (', 'cannot be used: .*never closed'),
    ('a = b = 1', 'is a program'),
    ('a = dict(**{"b": 1})', 'is a program'),
    ('_base_ = "other.py"', 'reads other files'),
    ('model = dict(type="os.system", command="true")',
     'type os.system is no name of a registry'),
    ('model = dict(neck=[dict(type="torch.hub.load")])',
     'type torch.hub.load is no name'),
    ('a = 1', 'describes no model'),
    (3, 'hold no config'),
])
def test_config_of_weights_that_is_none(text, message, checkpoint):
    with pytest.raises(ValueError, match=message):
        DiffMapInferencer(weights=checkpoint(text))


def test_config_of_weights_is_named_as_what_it_is(checkpoint):
    text = 'model = dict(type="Nobody")'
    file = checkpoint(text)
    with pytest.raises(ValueError, match='the model of config in weights '
                                         rf'{file} cannot be built'):
        DiffMapInferencer(weights=file, device='cpu')


def test_detectors_that_cannot_be_loaded(checkpoint):
    with pytest.raises(ValueError, match="give the detector's config as mod"):
        DiffMapInferencer()
    with pytest.raises(ValueError, match='no config file'):
        DiffMapInferencer('no-such-model')
    with pytest.raises(FileNotFoundError, match=r'no\.pth do not exist'):
        DiffMapInferencer(str(CONFIG), 'no.pth')
    with pytest.raises(ValueError, match='device toaster cannot be used'):
        DiffMapInferencer(str(CONFIG), str(WEIGHTS), 'toaster')


def test_config_as_a_dict():
    cfg = Config.fromfile(CONFIG).to_dict()
    inferencer = DiffMapInferencer(cfg, WEIGHTS, 'cpu', show_progress=False)
    assert len(inferencer(SCENE)['predictions'][0]['scores']) >= 4


def test_progress_of_a_method_of_its_own(monkeypatch):
    """D-RISE has a bar too; both are one display."""
    monkeypatch.setenv('FORCE_COLOR', '1')  # as on a terminal
    (found, ) = ours()(SCENE, explainer=dict(type='DRISE', masks=8),
                       max_objects=2)['predictions']
    assert len(found['heatmaps']) == 2
