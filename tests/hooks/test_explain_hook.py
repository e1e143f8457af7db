import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from demo import CONFIG, WEIGHTS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from mmdet_diffmap.apis import image_pipeline as image_pipeline_module
from mmdet_diffmap.apis.image_pipeline import DatasetPipelines
from mmdet_diffmap.hooks import ExplainHook


def test_loop(tmp_path, name, *hooks, images=3, batch_size=1, more=()):
    """The runner after the test loop has run, its metrics and how often the
    backbone ran."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(tmp_path / name)
    cfg.experiment_name = f'{tmp_path.name}_{name}'
    cfg.load_from = str(WEIGHTS)
    cfg.test_dataloader.update(num_workers=0, batch_size=batch_size)
    cfg.test_dataloader.dataset.num_images = images
    cfg.test_dataloader.dataset.pipeline[1:1] = list(more)
    # a machine that tests need not have what was trained on
    cfg.train_dataloader.dataset = dict(
        type='CocoDataset', ann_file='missing.json')
    cfg.custom_hooks = list(hooks)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'),
                                   dict(type='TensorboardVisBackend')]
    cfg.visualizer.name = cfg.experiment_name
    runner = Runner.from_cfg(cfg)
    calls = []
    runner.model.backbone.register_forward_hook(
        lambda *args: calls.append(torch.is_grad_enabled()))
    metrics = runner.test()
    runner.visualizer.close()
    return runner, metrics, calls


test_loop.__test__ = False
HOOK = dict(type='ExplainHook', explainer=dict(type='ODAM'), interval=1,
            max_objects=2)


def test_pictures_are_what_the_loading_step_gives(tmp_path, monkeypatch):
    """Each is read once more, by the test pipeline's own step."""
    reads = []
    read = image_pipeline_module.read_content
    monkeypatch.setattr(
        image_pipeline_module, 'read_content',
        lambda path, *args: reads.append(path) or read(path, *args))
    test_loop(tmp_path, 'read', dict(HOOK, out_dir='pictures'), images=2)
    assert reads == ['scene://0/0', 'scene://0/1']


def test_pipeline_that_flips_is_refused(tmp_path):
    with pytest.raises(ValueError, match='RandomFlip of the test pipeline'):
        test_loop(tmp_path, 'flipped', HOOK, images=1,
                  more=[dict(type='RandomFlip', prob=1.)])


def test_pipeline_of_several_data_sets():
    first, second = (SimpleNamespace(
        pipeline=Compose([dict(type='LoadImageFromFile')])) for _ in '12')
    joined = SimpleNamespace(
        datasets=[first, SimpleNamespace(dataset=second)],
        cumulative_sizes=[2, 5])
    pipelines = DatasetPipelines(joined)
    for index, dataset in enumerate([first] * 2 + [second] * 3):
        assert pipelines.at(index).transforms == dataset.pipeline.transforms
        assert pipelines.at(index) is pipelines.at(index)


def test_metrics_are_unchanged_and_backends_get_pictures(tmp_path):
    _, plain, calls = test_loop(tmp_path, 'plain')
    assert len(calls) == 3
    runner, explained, calls = test_loop(
        tmp_path, 'explained', dict(HOOK, out_dir='pictures'))
    assert explained == plain
    assert len(calls) == 6  # a pass more for each image
    assert not any(calls)  # nothing before the target layer is recorded
    assert not runner.model.training
    names = [f'{index}_{index}' for index in range(3)]
    for folder, found in (
            ('vis_data/vis_image', [f'explanation_{i}' for i in range(3)]),
            ('pictures', names)):
        assert sorted(p.stem for p in tmp_path.rglob(f'{folder}/*.png')) \
            == found
    files = [np.asarray(Image.open(next(tmp_path.rglob(pattern))))
             for pattern in ('0_0.png', 'explanation_0.png')]
    np.testing.assert_array_equal(*files)
    pictures = tensorboard_pictures(tmp_path / 'explained')
    assert list(pictures) == ['explanation']
    assert [picture.step for picture in pictures['explanation']] == [0, 1, 2]
    np.testing.assert_array_equal(files[0], decoded(
        pictures['explanation'][0]))


def tensorboard_pictures(folder):
    """Of each tag, all pictures."""
    (events, ) = folder.rglob('events.out.tfevents*')
    accumulator = EventAccumulator(str(events), dict(images=0))  # keep all
    accumulator.Reload()
    return {tag: accumulator.Images(tag)
            for tag in sorted(accumulator.Tags()['images'])}


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))


def test_skipped_batches_cost_nothing(tmp_path):
    _, _, calls = test_loop(
        tmp_path, 'skipped', dict(HOOK, interval=2), images=5, batch_size=2)
    assert len(calls) == 3 + 2  # three batches, the second one explained
    found = sorted(p.name for p in tmp_path.rglob('vis_image/*.png'))
    assert found == ['explanation_2.png', 'explanation_3.png']
    (pictures, ) = tensorboard_pictures(tmp_path).values()
    assert [picture.step for picture in pictures] == [2, 3]


def test_says_when_no_batch_was_explained(tmp_path, capfd):
    test_loop(tmp_path, 'none', dict(HOOK, interval=4))
    log = next(tmp_path.rglob('*.log')).read_text()
    assert '0 images explained' in log
    assert 'fewer batches than interval=4' in log
    assert not list(tmp_path.rglob('*.png'))


def test_model_is_left_as_it_was(tmp_path):
    runner, _, _ = test_loop(tmp_path, 'state', HOOK)
    fresh = torch.load(WEIGHTS)['state_dict']
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value.cpu().float(), fresh[name].float())
    assert all(p.grad is None and p.requires_grad
               for p in runner.model.parameters())


def test_outputs_are_left_as_they_are(tmp_path):
    seen = []

    class Spy(ExplainHook):

        def after_test_iter(self, runner, batch_idx, data_batch, outputs):
            before = copy.deepcopy(outputs)
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
            seen.append((before, outputs))

    from mmengine.registry import HOOKS
    HOOKS.register_module(name='SpyHook', module=Spy, force=True)
    test_loop(tmp_path, 'spy', dict(HOOK, type='SpyHook'), images=1)
    ((before, ), (after, )), = seen
    # mmengine gives them in the order of a set, which a copy may change
    assert sorted(before.keys()) == sorted(after.keys())
    for field in before.pred_instances.keys():  # noqa: SIM118
        assert torch.equal(before.pred_instances[field],
                           after.pred_instances[field])


class MetricsHook(Hook):
    """Keeps what each validation measured."""

    def __init__(self, kept):
        self.kept = kept

    def after_val_epoch(self, runner, metrics=None):
        self.kept.append(dict(metrics))


def train(tmp_path, name, *hooks):
    """The runner after three iterations of training with a validation after
    each, and the metrics of all validations."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(tmp_path / name)
    cfg.experiment_name = f'{tmp_path.name}_{name}'
    cfg.load_from = str(WEIGHTS)
    cfg.randomness = dict(seed=0)
    cfg.train_cfg.update(max_iters=3, val_interval=1)
    cfg.train_dataloader.update(
        num_workers=0, persistent_workers=False, batch_size=2)
    cfg.val_dataloader.update(num_workers=0, batch_size=1)
    cfg.val_dataloader.dataset.num_images = 3
    cfg.custom_hooks = list(hooks)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'),
                                   dict(type='TensorboardVisBackend')]
    cfg.visualizer.name = cfg.experiment_name
    runner = Runner.from_cfg(cfg)
    metrics = []
    runner.register_hook(MetricsHook(metrics))
    runner.train()
    runner.visualizer.close()
    return runner, metrics


@pytest.mark.slow
def test_validations_of_a_training(tmp_path):
    """The training goes as without the hook, and each image that has its turn
    is shown after one, two and three iterations."""
    plain, plain_metrics = train(tmp_path, 'plain')
    hook = dict(HOOK, interval=2, validate=True, out_dir='pictures')
    runner, metrics = train(tmp_path, 'explained', hook)
    assert metrics == plain_metrics and len(metrics) == 3
    weights = plain.model.state_dict()
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, weights[key])
    assert runner.model.training == plain.model.training
    pictures = tensorboard_pictures(tmp_path / 'explained')
    assert list(pictures) == ['explanation_1_1']
    assert [one.step for one in pictures['explanation_1_1']] == [1, 2, 3]
    first, *_, last = map(decoded, pictures['explanation_1_1'])
    assert first.shape != last.shape or (first != last).any()
    for folder, names in (
            ('vis_data/vis_image', [f'explanation_1_1_{i}' for i in '123']),
            ('pictures', [f'1_1_{i}' for i in '123'])):
        assert sorted(path.stem for path in tmp_path.rglob(
            f'explained/**/{folder}/*.png')) == names


def test_a_validation_alone_builds_no_training_data(tmp_path):
    """It begins with iteration 0; without the option, nothing is explained."""
    for validate in False, True:
        cfg = Config.fromfile(CONFIG)
        cfg.work_dir = str(tmp_path / str(validate))
        cfg.experiment_name = f'{tmp_path.name}_{validate}'
        cfg.load_from = str(WEIGHTS)
        cfg.train_dataloader.dataset = dict(
            type='CocoDataset', ann_file='missing.json')
        cfg.val_dataloader.update(num_workers=0, batch_size=1)
        cfg.val_dataloader.dataset.num_images = 1
        cfg.default_hooks.pop('logger')  # which asks for the training's epoch
        cfg.custom_hooks = [dict(HOOK, validate=validate, out_dir='pictures')]
        cfg.visualizer.name = cfg.experiment_name
        Runner.from_cfg(cfg).val()
        found = [path.name for path in tmp_path.rglob(
            f'{validate}/**/pictures/*.png')]
        assert found == ['0_0_0.png'] * validate


def test_mistakes():
    with pytest.raises(ValueError, match='interval must be at least 1'):
        ExplainHook(interval=0)
    with pytest.raises(ValueError, match="unknown explainer 'x'"):
        ExplainHook(explainer='x')
