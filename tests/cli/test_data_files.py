"""What is said where the files of a test set are missing."""
import json

import pytest
from demo import CONFIG, WEIGHTS
from mmengine.config import Config
from programs import run

from mmdet_diffmap.cli.data_files import check_test_data

COCO = '''
_base_ = [{config!r}]
test_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type='CocoDataset', data_root='data/coco/',
                 ann_file='ann.json', data_prefix=dict(img='images/'),
                 test_mode=True, metainfo=dict(classes=('fish', )),
                 pipeline=[dict(type='LoadImageFromFile'),
                           dict(type='PackDetInputs')]))
test_evaluator = dict(_delete_=True, type='CocoMetric', metric='bbox',
                      ann_file='data/coco/ann.json')
'''


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'coco.py'
    path.write_text(COCO.format(config=str(CONFIG)))
    return path


@pytest.mark.parametrize('command', ['benchmark', 'errors', 'test'])
def test_one_sentence_names_the_file_and_the_setting(command, config):
    result = run('mmdet-diffmap', command, config, WEIGHTS, '--work-dir',
                 'work', cwd=config.parent, expect=1)
    assert result.stderr.startswith(
        'error: the test set is not there: data/coco/ann.json does not '
        'exist; say where it lies by --cfg-options '
        'test_dataloader.dataset.data_root=FOLDER')
    assert ('test_evaluator.ann_file=FILE' in result.stderr) == (
        command == 'test')
    assert ('; or give --annotations FILE' in result.stderr) == (
        command == 'errors')
    assert len(result.stderr.splitlines()) == 1
    assert not (config.parent / 'work').exists()


def test_the_setting_that_is_named_mends_it(config, tmp_path):
    (tmp_path / 'here/images').mkdir(parents=True)
    (tmp_path / 'here/ann.json').write_text(json.dumps(dict(
        images=[], annotations=[], categories=[])))
    cfg = Config.fromfile(config)
    with pytest.raises(FileNotFoundError, match='data_root=FOLDER, or'):
        check_test_data(cfg)
    cfg.merge_from_dict({'test_dataloader.dataset.data_root':
                         str(tmp_path / 'here')})
    check_test_data(cfg)
    with pytest.raises(FileNotFoundError, match=r'test_evaluator\.ann_file'):
        check_test_data(cfg, evaluator=True)
    cfg.merge_from_dict({'test_dataloader.dataset.ann_file': 'other.json',
                         'test_dataloader.dataset.data_prefix.img': 'x'})
    with pytest.raises(FileNotFoundError, match=(
            r'here/other\.json does not exist.* '
            r'test_dataloader\.dataset\.ann_file=FILE '
            r'test_dataloader\.dataset\.data_prefix\.img=FOLDER')):
        check_test_data(cfg)


def test_wrapped_joined_and_remote_data_sets():
    lost = dict(type='CocoDataset', data_root='none', ann_file='a.json')
    remote = dict(lost, data_root='s3://bucket/')
    cfg = Config(dict(test_dataloader=dict(dataset=dict(
        type='ConcatDataset',
        datasets=[remote, dict(type='RepeatDataset', dataset=lost)]))))
    with pytest.raises(FileNotFoundError, match=(
            r'none/a\.json .*'
            r'dataset\.datasets\.1\.dataset\.data_root=FOLDER, or')):
        check_test_data(cfg)


def test_the_setting_of_one_of_several_metrics():
    cfg = Config(dict(
        test_dataloader=dict(dataset=dict(type='SceneDataset')),
        test_evaluator=[dict(type='A'), dict(type='B', ann_file='none')]))
    check_test_data(cfg)
    with pytest.raises(FileNotFoundError, match=r'test_evaluator\.1\.ann_fi'):
        check_test_data(cfg, evaluator=True)


def test_mmdets_test_names_what_else_is_missing(tmp_path):
    for arguments, message in (
            (['no.py', WEIGHTS], 'config no.py does not exist'),
            ([CONFIG, 'no.pth'], 'weights no.pth do not exist')):
        result = run('mmdet-diffmap', 'test', *arguments, cwd=tmp_path,
                     expect=1)
        assert result.stderr == f'error: {message}\n'
