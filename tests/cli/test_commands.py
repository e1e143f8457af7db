"""The programs as a user starts them."""
import json
import os

import cv2
import numpy as np
import pytest
from demo import CONFIG, ROOT, SCENE, WEIGHTS
from PIL import Image
from programs import run

from mmdet_diffmap.datasets import render_scene


def explain(*arguments, **options):
    return run(ROOT / 'tools/explain.py', *arguments, **options)


def test_photo_with_every_option(tmp_path):
    result = explain(
        'scene://0/2', 'scene://0/13', CONFIG, '--weights', WEIGHTS,
        '--explainer', 'difference-map', '--explainer-options', 'extents=True',
        '--target-layer', 'neck[0]', '--score-thr', '0.4', '--max-objects',
        '3', '--out-dir', 'o', '--save-maps', '--report', '--device', 'cpu',
        '--cfg-options', 'model.test_cfg.max_per_img=2', cwd=tmp_path)
    assert '2 of 2 images explained' in result.stdout
    maps = np.load(tmp_path / 'o/maps/2.npz')
    assert len(maps['scores']) == 2 and maps['scores'].min() > 0.4
    assert (tmp_path / 'o/vis/13.png').is_file()
    assert f'report: {tmp_path}/o/report.html' in result.stdout
    page = (tmp_path / 'o/report.html').read_text()
    for setting in (str(CONFIG), str(WEIGHTS), 'the best 3', 'extents=True'):
        assert setting in page
    assert 'Traceback' not in result.stderr


OWN_METHOD = '''
from mmdet_diffmap.explainers import GradientExplainer
from mmdet_diffmap.registry import EXPLAINERS

@EXPLAINERS.register_module()
class ElementCAM(GradientExplainer):
    def level_maps(self, level):
        products = level.gradients * level.activations
        return level.grid_maps(products.relu().sum(dim=1))
'''


@pytest.mark.slow
def test_all_methods_those_of_a_config_and_of_a_file_of_ones_own(
        module_folder):
    (module_folder / 'element_cam.py').write_text(OWN_METHOD)
    (module_folder / 'mine.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n'
        'custom_imports = dict(imports=["element_cam"])\n'
        'explainers = {"d-rise": dict(type="DRISE", masks=9),\n'
        '    "outward": dict(type="ODAM", extents=True)}\n')
    result = explain('scene://0/2', 'mine.py', '--weights', WEIGHTS,
                     '--explainer', 'all', 'element-cam-diff', '--save-maps',
                     '--explainer-options', 'batch_size=3', cwd=module_folder)
    assert '1 of 1 image explained, results in' in result.stdout
    plain = {'grad-cam', 'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++',
             'd-rise', 'odam', 'outward', 'layer-cam', 'hires-cam',
             'xgrad-cam', 'eigen-cam', 'eigen-grad-cam', 'ablation-cam',
             'element-cam'}
    folder = module_folder / 'outputs'
    assert {one.name for one in folder.iterdir()} == plain | {
        'element-cam-diff'}
    maps = {one.name: np.load(one / 'maps/2.npz')['heatmaps']
            for one in folder.iterdir() if (one / 'vis/2.png').is_file()}
    assert np.array_equal(maps.pop('element-cam-diff'),
                          maps['element-cam'])
    assert maps.keys() == plain
    for name, one in maps.items():
        assert not any(np.array_equal(one, other)
                       for key, other in maps.items() if key != name)


@pytest.mark.slow
def test_comparison_of_methods_and_detectors(tmp_path):
    other = tmp_path / 'other.py'
    other.write_text(f'_base_ = [{str(CONFIG)!r}]\n')
    two = ('scene://0/2', 'scene://0/3', CONFIG, other, '--weights', WEIGHTS,
           WEIGHTS)
    explain(*two, '--report', cwd=tmp_path)
    for name in 'fcos_scenes', 'other':
        assert (tmp_path / f'outputs/{name}/vis/3.png').is_file()
    page = (tmp_path / 'outputs/report.html').read_text()
    assert 'Why this object? fcos_scenes and other<' in page
    assert '"weights of other"' in page and '"score threshold"' in page
    explain(*two, '--explainer', 'odam', 'ss-grad-cam', '--object', '1',
            cwd=tmp_path)
    assert sorted(os.listdir(tmp_path / 'outputs/compare')) == ['2.png',
                                                                '3.png']
    picture = Image.open(tmp_path / 'outputs/compare/2.png')
    assert picture.size[1] > 4 * 360  # two detectors, two methods


def test_videos_beside_images(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / 'clip.mp4'),
                             cv2.VideoWriter.fourcc(*'mp4v'), 10, (192, 192))
    for _ in range(4):
        writer.write(render_scene(0, 2).image)
    writer.release()
    (tmp_path / 'bad.mp4').write_text('no video')
    result = explain(
        '*.mp4', 'scene://0/2', CONFIG, '--weights', WEIGHTS, '--object', '0',
        '--map', 'heatmap', '--every', '2', cwd=tmp_path, expect=1)
    assert '2 of 1 image and 2 videos explained' in result.stdout
    assert 'failed: bad.mp4: video bad.mp4 is damaged' in result.stderr
    assert sorted(os.listdir(tmp_path / 'outputs/vis')) == ['clip.mp4']
    assert (tmp_path / 'outputs/compare/2.png').is_file()
    video = cv2.VideoCapture(str(tmp_path / 'outputs/vis/clip.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert video.get(cv2.CAP_PROP_FPS) == 5


def test_mistakes_in_a_comparison_of_an_object(tmp_path):
    result = explain('scene://0/2', CONFIG, '--weights', WEIGHTS, '--object',
                     '77', cwd=tmp_path, expect=1)
    assert 'there is no object 77: the detector finds' in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('arguments, message', [
    (['missing.jpg', CONFIG, '--weights', WEIGHTS],
     'image missing.jpg does not exist'),
    (['empty', CONFIG, '--weights', WEIGHTS], 'folder empty holds no image'),
    (['scene://0/1', 'no.py'], 'config no.py does not exist'),
    (['scene://0/1', CONFIG, '--weights', 'text.pth'],
     'text.pth are truncated, or no PyTorch checkpoint'),
    (['scene://0/1', ROOT / 'configs/pvt/retinanet_pvt-s_coco.py',
      '--weights', WEIGHTS], 'do not fit the config'),
    (['scene://0/1', CONFIG, '--weights', WEIGHTS, '--explainer', 'x'],
     "unknown explainer 'x'; there are"),
    (['scene://0/1', CONFIG, '--weights', WEIGHTS, '--target-layer', 'x'],
     "target layer 'x' does not exist: FCOS has"),
    (['scene://0/1', CONFIG, '--weights', WEIGHTS, '--out-dir', 'text.pth'],
     'output folder text.pth cannot be made'),
    (['clip.mp4', CONFIG, '--weights', WEIGHTS, '--report'],
     '--report is for images: explain clip.mp4 without it'),
    (['clip.mp4', CONFIG, '--weights', WEIGHTS, '--save-maps'],
     '--save-maps is for images'),
])
def test_mistakes_get_one_clear_line(arguments, message, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.pth').write_text('hello')
    result = explain(*arguments, cwd=tmp_path, expect=1)
    assert message in result.stderr
    assert 'Traceback' not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('arguments, message', [
    (['--explainer-options', 'extents'], 'options are given as KEY=VALUE'),
    (['--max-objects', '-1'], '--max-objects: -1 is not a whole number, 0'),
    (['--object', '-1'], 'argument --object: -1 is not a whole number'),
    (['--every', '0'], '--every: 0 is not a whole number, 1 or more'),
    (['--object', '0', '--save-maps'], '--save-maps does not go with'),
    (['--object', '0', '--report'], '--object makes one picture and no'),
    (['a.jpg', CONFIG, CONFIG, '--weights', WEIGHTS],
     '1 --weights for 2 MODELs'),
])
def test_mistakes_in_options(arguments, message, tmp_path):
    result = explain(*arguments, cwd=tmp_path, expect=2)
    assert message in result.stderr and 'Traceback' not in result.stderr


def test_model_is_missing(tmp_path):
    result = explain('scene://0/1', cwd=tmp_path, expect=2)
    assert 'give images and a MODEL' in result.stderr


@pytest.mark.slow
def test_real_photographs(real, tmp_path):
    photos = sorted((real / 'images').iterdir())[:3]
    result = explain(
        *photos, real / 'yolox_nano_coco.py', '--weights',
        real / 'yolox_nano_coco.pth', '--save-maps', cwd=tmp_path)
    assert '3 of 3 images explained' in result.stdout
    for photo in photos:
        maps = np.load(tmp_path / f'outputs/maps/{photo.stem}.npz')
        assert maps['heatmaps'].shape == maps['difference_maps'].shape
        assert (tmp_path / f'outputs/vis/{photo.stem}.png').is_file()


@pytest.mark.slow
def test_test_runs_the_hosts_test_with_the_hook(tmp_path):
    config = tmp_path / 'hooked.py'
    config.write_text(
        f"_base_ = [{str(CONFIG)!r}]\n"
        "custom_hooks = [dict(type='ExplainHook', interval=1, "
        "explainer=dict(type='ODAM'), max_objects=2, out_dir='explained')]\n"
        "test_dataloader = dict(batch_size=2, num_workers=0, "
        "persistent_workers=False, dataset=dict(num_images=3))\n")
    result = run(ROOT / 'tools/test.py', config, WEIGHTS, '--work-dir',
                 tmp_path / 'work', cwd=tmp_path)
    assert 'coco/bbox_mAP_50' in result.stdout + result.stderr
    pictures = sorted(p.name for p in tmp_path.rglob('explained/*.png'))
    assert pictures == ['0_0.png', '1_1.png', '2_2.png']


def train(folder, *arguments, steps):
    # mmengine gives the log to the visualizer of that name of an earlier run
    run(ROOT / 'tools/train_demo.py', CONFIG, '--work-dir', folder / 'work',
        '--out', folder / 'out.pth', *arguments, '--cfg-options',
        f'train_cfg.max_iters={steps}', 'train_cfg.val_interval=10',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=2', 'val_dataloader.dataset.num_images=2',
        'test_dataloader.dataset.num_images=2',
        f'visualizer.name={folder}-{steps}', f'load_from={WEIGHTS}',
        cwd=folder)
    record = json.loads((folder / 'out.json').read_text())
    return record, [row['step'] for row in record['log'] if 'loss' in row]


@pytest.mark.slow
def test_train_demo_publishes_what_it_measured(tmp_path):
    record, steps = train(tmp_path, steps=2)
    assert record['metrics']['coco/bbox_mAP_50'] > 0.5
    assert steps == [1, 2]
    explain('scene://0/2', CONFIG, '--weights', tmp_path / 'out.pth',
            cwd=tmp_path)
    # it goes on from the last checkpoint, and the log is that of both runs
    assert train(tmp_path, '--resume', steps=4)[1] == [1, 2, 3, 4]
    # another training in the same folder is not part of the first
    assert train(tmp_path, steps=1)[1] == [1]


def benchmark(*arguments, **options):
    return run(ROOT / 'tools/benchmark_speed.py', *arguments, **options)


@pytest.mark.slow
def test_speed_of_the_bundled_detector(tmp_path):
    (tmp_path / 'boxes.json').write_text(json.dumps(dict(
        images=[dict(id=1, width=10, height=10)],
        annotations=[dict(image_id=1, bbox=[1, i, 3, 4]) for i in range(4)])))
    result = benchmark(
        CONFIG, '--weights', WEIGHTS, '--num-objects', '1', '3',
        '--explainers', 'odam', 'difference-map', '--explainer-options',
        'extents=True', '--input-size', '96', '128', '--image-size',
        '48', '64', '--annotations', 'boxes.json', '--repeat', '1',
        '--naive-objects', '1', '--device', 'cpu', '--seed', '3', '--json',
        'out/speed.json', '--cfg-options', 'model.test_cfg.score_thr=0.01',
        cwd=tmp_path)
    assert 'naive loop' in result.stdout and 'Traceback' not in result.stderr
    record = json.loads((tmp_path / 'out/speed.json').read_text())
    assert record['machine']['torch'] and record['arguments']['seed'] == 3
    assert [one['objects'] for one in record['explainers']['odam']] == [1, 3]
    for speeds in record['explainers'].values():
        for speed in speeds:
            assert speed['against_forward'] == pytest.approx(
                speed['explain'] / speed['forward'])
            assert speed['difference'] < 1e-5


def test_speed_with_random_weights(tmp_path):
    result = benchmark(
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', '--num-objects', '2',
        '--input-size', '64', '64', '--image-size', '32', '32', '--repeat',
        '1', '--naive-objects', '0', cwd=tmp_path)
    assert 'nan' in result.stdout  # no naive loop, no difference from it


def test_operations_of_the_bundled_detector(tmp_path):
    result = benchmark(
        CONFIG, '--weights', WEIGHTS, '--num-objects', '1', '3',
        '--input-size', '96', '128', '--image-size', '48', '64',
        '--operations', '--json', 'operations.json', cwd=tmp_path)
    assert 'waits' in result.stdout and 'naive' not in result.stdout
    record = json.loads((tmp_path / 'operations.json').read_text())
    few, many = record['explainers']['odam']
    assert (few['objects'], many['objects']) == (1, 3)
    for counted in few, many:
        assert counted['forward']['total'] > counted['forward']['waits'] > 0
        assert counted['explain']['total'] > counted['explain']['waits'] > 0


@pytest.mark.parametrize('arguments, message', [
    (['no.py'], 'config no.py does not exist'),
    ([CONFIG, '--explainers', 'x'], "unknown explainer 'x'; there are"),
    ([CONFIG, '--annotations', 'no.json'], 'no.json'),
    ([CONFIG, '--explainer-options', 'statistics=x'],
     'statistics must be exact or frozen, not x'),
])
def test_mistakes_in_a_benchmark_get_one_clear_line(arguments, message,
                                                    tmp_path):
    result = benchmark(*arguments, cwd=tmp_path, expect=1)
    assert message in result.stderr
    assert 'Traceback' not in result.stderr


def test_a_benchmark_without_weights(tmp_path):
    (tmp_path / 'bare.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\nload_from = None\n')
    result = run(ROOT / 'tools/benchmark_del_ins.py', 'bare.py',
                 cwd=tmp_path, expect=1)
    assert 'no weights for bare.py: neither given, nor' in result.stderr


def test_numbers_that_a_benchmark_cannot_use(tmp_path):
    result = benchmark(CONFIG, '--num-objects', '0', cwd=tmp_path, expect=2)
    assert '--num-objects: 0 is not a whole number, 1 or more' in \
        result.stderr


@pytest.mark.slow
def test_overhead_of_d_rise(tmp_path):
    result = run(
        ROOT / 'tools/benchmark_d_rise.py', 'scene://0/2', CONFIG,
        '--weights', WEIGHTS, '--masks', '8', '40', '--explainer-options',
        'batch_size=4', '--score-thr', '0.5', '--max-objects', '2',
        '--repeat', '1', '--device', 'cpu', '--json', 'o/d.json',
        '--cfg-options', 'model.test_cfg.max_per_img=3', cwd=tmp_path)
    assert 'bare forwards' in result.stdout
    record = json.loads((tmp_path / 'o/d.json').read_text())
    few, many = record['overheads']
    assert (few['masks'], many['masks']) == (8, 40)
    assert few['objects'] == many['objects'] == 2
    for one in (few, many):
        assert one['ratio'] == pytest.approx(one['explain'] / one['bare'])
    assert -1 < few['reliability'] < many['reliability'] < 1
    # memory is that of a batch, not of all masks
    assert many['memory'] < 1.2 * few['memory']


def test_no_masks_are_refused_at_once(tmp_path):
    result = run(ROOT / 'tools/benchmark_d_rise.py', 'scene://0/2', CONFIG,
                 '--masks', '0', cwd=tmp_path, expect=2)
    assert '--masks: 0 is not a whole number, 1 or more' in result.stderr


@pytest.mark.parametrize('arguments, message', [
    (['no.jpg'], 'image no.jpg does not exist'),
    (['scene://0/2', '--score-thr', '1'], 'no object above the score thresh'),
    (['scene://0/2', '--explainer-options', 'max_masks=5001'],
     'number of masks must be fixed'),
])
def test_mistakes_in_a_measurement_of_d_rise(arguments, message, tmp_path):
    image, *options = arguments
    result = run(ROOT / 'tools/benchmark_d_rise.py', image, CONFIG,
                 '--weights', WEIGHTS, *options, cwd=tmp_path, expect=1)
    assert message in result.stderr and 'Traceback' not in result.stderr


def test_two_settings_compared(tmp_path):
    result = run(
        ROOT / 'tools/compare_explainers.py', 'scene://0/2', 'scene://0/3',
        CONFIG, '--weights', WEIGHTS, '--explainer', 'odam', '--first',
        'extents=True', '--second', 'extents=True', 'statistics=frozen',
        '--score-thr', '0.5', '--max-objects', '2', '--device', 'cpu',
        '--picture', 'o/p.png', '--json', 'o/t.json', cwd=tmp_path)
    assert '4 objects' in result.stdout
    table = json.loads((tmp_path / 'o/t.json').read_text())
    for name, values in table['figures'].items():
        ordered = [values[key] for key in ('min', '25 %', 'median', '75 %',
                                           'max')]
        assert ordered == sorted(ordered) and -1 <= ordered[0] <= ordered[4]
        assert ordered[4] > 0, name
    assert Image.open(tmp_path / 'o/p.png').size[0] > 5 * 240


def test_a_setting_compared_with_itself(tmp_path):
    # a GPU adds in another order each time
    run(ROOT / 'tools/compare_explainers.py', 'scene://0/2', CONFIG,
        '--weights', WEIGHTS, '--second', 'statistics=exact', '--json',
        't.json', '--device', 'cpu', cwd=tmp_path)
    figures = json.loads((tmp_path / 't.json').read_text())['figures']
    for name, values in figures.items():
        same = 0 if name.endswith('difference') else 1
        assert values['min'] == pytest.approx(same), name
        assert values['max'] == pytest.approx(same), name


@pytest.mark.parametrize('arguments, message', [
    (['no.jpg', CONFIG, '--weights', WEIGHTS, '--second', 'extents=True'],
     'image no.jpg does not exist'),
    (['scene://0/1', CONFIG, '--weights', WEIGHTS, '--second', 'x=1'],
     'cannot be built'),
    (['scene://0/1', CONFIG, '--weights', WEIGHTS, '--second', 'half=True',
      '--score-thr', '1'], 'no object above the score threshold'),
])
def test_mistakes_in_a_comparison_get_one_clear_line(arguments, message,
                                                     tmp_path):
    result = run(ROOT / 'tools/compare_explainers.py', *arguments,
                 cwd=tmp_path, expect=1)
    assert message in result.stderr and 'Traceback' not in result.stderr


def test_plot_of_speeds(tmp_path):
    speeds = [dict(objects=n, explain=n / 10, naive=n, against_forward=n / 50)
              for n in (1, 10)]
    (tmp_path / 'a.json').write_text(json.dumps(
        dict(explainers=dict(odam=speeds))))
    run(ROOT / 'tools/plot_speed.py', 'first=a.json', 'second=a.json',
        '--out', 'p.png', cwd=tmp_path)
    assert np.asarray(Image.open(tmp_path / 'p.png')).std() > 10
    (tmp_path / 'b.json').write_text('{}')
    result = run(ROOT / 'tools/plot_speed.py', 'x=b.json', cwd=tmp_path,
                 expect=1)
    assert 'b.json is no file of benchmark_speed.py' in result.stderr


@pytest.mark.slow
def test_contrasts_and_evidence(tmp_path, capsys):
    """The command's options are the methods' own."""
    from mmdet_diffmap.cli.explain import main
    arguments = [SCENE, str(CONFIG), '--max-objects', '2', '--save-maps',
                 '--out-dir', str(tmp_path)]

    def maps(*more):
        assert main([*arguments, *more]) == 0
        with np.load(tmp_path / 'maps/2.npz') as saved:
            return dict(saved)

    plain = maps('--outputs', 'contrast', '--evidence', 'both')
    short = maps('--contrast')
    assert np.array_equal(plain['evidence_maps'], short['evidence_maps'])
    assert np.abs(short['evidence_maps']).max() == 1
    of_class = maps('--contrast', 'tree')
    assert (of_class['evidence_maps'] != short['evidence_maps']).any()
    against = maps('--contrast', '--evidence', 'against')
    assert 'evidence_maps' not in against
    assert (against['heatmaps'] != short['heatmaps']).any()
    assert main([*arguments, '--contrast', 'unicorn']) == 1
    assert "no class 'unicorn'; it has fish" in capsys.readouterr().err
    assert main([*arguments, '--explainer', 'd-rise', '--contrast']) == 1
    assert 'there is no such option' in capsys.readouterr().err
    assert main([*arguments, '--outputs', 'size']) == 1
    assert "there is no output 'size'" in capsys.readouterr().err
    assert main([*arguments, '--outputs', 'mask']) == 1
    assert 'predicts no masks' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, '--contrast', '--outputs', 'width'])
    assert 'give it without --outputs' in capsys.readouterr().err
