import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint as load_checkpoint
from server import serving
from torch import nn

from mmdet_diffmap.io.checkpoint import (
    READS_MARKED,
    history_method,
    is_training_checkpoint,
    load_weights,
    read_checkpoint,
)

CONFIG = 'configs/demo/fcos_scenes.py'

reads_marked = pytest.mark.skipif(
    not READS_MARKED, reason='torch before 2.6 reads tensors only')


@pytest.fixture(scope='module')
def epoch(tmp_path_factory):
    """A checkpoint that mmengine's runner wrote after an epoch of training."""
    folder = tmp_path_factory.mktemp('training')
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(folder)
    cfg.train_dataloader.update(
        num_workers=0, persistent_workers=False, batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False))
    cfg.train_dataloader.dataset.num_images = 4
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.train_cfg = dict(
        _delete_=True, type='EpochBasedTrainLoop', max_epochs=1)
    cfg.train_cfg.pop('_delete_')
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks.logger.interval = 1
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        Runner.from_cfg(cfg).train()
    return folder / 'epoch_1.pth'


@reads_marked
def test_training_checkpoint_is_read_safely(epoch):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        content = load_checkpoint(str(epoch))  # as mmengine's runner does
    assert {'message_hub', 'optimizer', 'state_dict'} <= content.keys()
    history = content['message_hub']['log_scalars']['train/loss']
    assert history.data[0].shape == (2, )
    checkpoint = read_checkpoint(str(epoch))
    assert torch.equal(checkpoint['state_dict']['backbone.conv1.weight'],
                       content['state_dict']['backbone.conv1.weight'])


@reads_marked
def test_checkpoint_of_numpy_1(tmp_path):
    """Files that numpy 1 wrote name its module without the underscore."""
    file = tmp_path / 'numpy1.pth'
    torch.save(dict(state_dict=dict(w=torch.ones(1)), x=np.arange(3.)), file)
    renamed = tmp_path / 'renamed.pth'
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(renamed, 'w') as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith('data.pkl'):
                content = content.replace(b'numpy._core.multiarray',
                                          b'numpy.core.multiarray')
            new.writestr(item.filename, content)
    assert read_checkpoint(str(renamed))['x'].tolist() == [0, 1, 2]


class Attack:

    def __reduce__(self):
        return os.system, ('echo attacked > attacked.txt', )


class Getattr:
    """Uses the allowed ``getattr`` for something else."""

    def __reduce__(self):
        return getattr, (nn.Module, '__init__')


class Evaluated:

    def __reduce__(self):
        return eval, ("open('attacked.txt', 'w')", )


def save_archive(content):
    torch.save(content, 'bad.pth')


def save_older(content):
    torch.save(content, 'bad.pth', _use_new_zipfile_serialization=False)


def save_pickle(content):
    Path('bad.pth').write_bytes(pickle.dumps(content, protocol=4))


@pytest.mark.parametrize('save', [save_archive, save_older, save_pickle])
@pytest.mark.parametrize('attack, name', [
    (Attack(), r'posix\.system|nt\.system'), (Getattr(), r'\.getattr'),
    (Evaluated(), r'\.eval')])
def test_code_in_a_checkpoint_is_named_and_not_run(attack, name, save,
                                                   tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(dict(state_dict=dict(w=torch.ones(1)), x=attack))
    with pytest.raises(ValueError, match=r'bad\.pth hold more than tensors: '
                       rf'they ask for \S*({name}), .* nothing of it was run'):
        read_checkpoint('bad.pth')
    assert not (tmp_path / 'attacked.txt').exists()


def test_training_checkpoints_are_told_from_attacks(epoch, tmp_path,
                                                    monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_training_checkpoint(epoch)
    for content in Attack(), Getattr(), Evaluated():
        save_archive(dict(x=content))
        assert not is_training_checkpoint(Path('bad.pth'))


@pytest.mark.skipif(READS_MARKED, reason='torch 2.6 and newer read it')
def test_training_checkpoint_for_a_newer_torch(epoch):
    with pytest.raises(ValueError, match=r'upgrade to torch 2\.6'):
        read_checkpoint(str(epoch))


def test_history_method_gives_nothing_else():
    from mmengine.logging import HistoryBuffer
    assert history_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in ((HistoryBuffer, '__init__'), (os, 'system')):
        with pytest.raises(pickle.UnpicklingError, match=name):
            history_method(owner, name)


def test_truncated_checkpoint(epoch, tmp_path):
    content = epoch.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 100):
        file = tmp_path / f'{size}.pth'
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match=rf'{size}\.pth are truncated'):
            read_checkpoint(str(file))


@pytest.mark.parametrize('content, message', [
    (b'hello, world\n' * 10, 'no PyTorch checkpoint'),
    (b'\x89PNG\r\n\x1a\n' + bytes(100), 'no PyTorch checkpoint'),
])
def test_foreign_file(content, message, tmp_path):
    file = tmp_path / 'foreign.pth'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(str(file))


@pytest.mark.parametrize('content', [
    dict(epoch=3), torch.ones(3), dict(state_dict=None), [1, 2],
    dict(state_dict={}), {1: torch.ones(1)}])
def test_file_without_weights(content, tmp_path):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='no state_dict'):
        read_checkpoint(str(tmp_path / 'a.pth'))


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r'weights no\.pth do not ex'):
        read_checkpoint('no.pth')


def test_download_that_fails(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(OSError, match=r'cannot be downloaded .* put it at'):
        read_checkpoint('http://127.0.0.1:9/none.pth')
    assert not list(tmp_path.rglob('none*'))


def test_download_is_kept(tmp_path, monkeypatch):
    torch.save(dict(w=torch.ones(2)), tmp_path / 'w.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    with serving(tmp_path) as address:
        url = f'{address}/w.pth'
        assert read_checkpoint(url)['state_dict']['w'].tolist() == [1, 1]
    # the server is gone
    assert read_checkpoint(url)['state_dict']['w'].tolist() == [1, 1]


def test_files_of_one_name_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    for number, folder in enumerate('ab'):
        (tmp_path / folder).mkdir()
        torch.save(dict(w=torch.tensor(number)), tmp_path / folder / 'm.pth')
    with serving(tmp_path) as address:
        found = [read_checkpoint(f'{address}/{folder}/m.pth')
                 for folder in 'ab']
    assert [one['state_dict']['w'].item() for one in found] == [0, 1]


def test_broken_download_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    torch.save(dict(w=torch.ones(1)), tmp_path / 'm.pth')
    whole = (tmp_path / 'm.pth').read_bytes()
    with serving(tmp_path) as address:
        (tmp_path / 'm.pth').write_bytes(whole[:len(whole) // 2])
        with pytest.raises(ValueError, match='truncated'):
            read_checkpoint(f'{address}/m.pth')
        (tmp_path / 'm.pth').write_bytes(whole)
        assert read_checkpoint(f'{address}/m.pth')['state_dict']


def test_name_with_a_hash_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    torch.save(dict(w=torch.ones(1)), tmp_path / 'm-0123abcd.pth')
    with serving(tmp_path) as address:
        read_checkpoint(f'{address}/m-0123abcd.pth')
    cached = tmp_path / 'cache/hub/checkpoints'
    assert [path.name for path in cached.iterdir()] == ['m-0123abcd.pth']


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_weights_under_a_wrapper():
    source, target = net(), net()
    state = {f'module.{k}': v for k, v in source.state_dict().items()}
    load_weights(target, dict(state_dict=state), 'a.pth')
    assert torch.equal(target[0].weight, source[0].weight)


def test_missing_weights_are_named():
    state = net().state_dict()
    del state['0.bias'], state['1.num_batches_tracked']
    with pytest.raises(ValueError, match=r'a\.pth do not fit the config: '
                       r'1 missing, 0\.bias'):
        load_weights(net(), dict(state_dict=state), 'a.pth')


def test_weights_of_another_shape_are_named():
    state = net().state_dict()
    state['0.weight'] = torch.ones(5, 2)
    with pytest.raises(ValueError, match=r'a\.pth do not fit.*0\.weight'):
        load_weights(net(), dict(state_dict=state), 'a.pth')


def test_weights_without_a_place_are_reported(capfd):
    from mmengine.logging import MMLogger
    MMLogger.get_instance('test_checkpoint')
    state = dict(net().state_dict(), spare=torch.ones(1))
    load_weights(net(), dict(state_dict=state), 'a.pth')
    assert 'no use for: spare' in ''.join(capfd.readouterr())
