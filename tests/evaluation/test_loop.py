"""A run in this process, from a config to its files."""
import json

import pyarrow.parquet as pq
import pytest
from demo import CONFIG, WEIGHTS
from mmengine.config import Config

from mmdet_diffmap.evaluation.runner import LOOP, METRIC, build_runner

#: A plain method with the name of a difference map, and the other way round.
EXPLAINERS = {'shape-diff': 'odam', 'mine': dict(type='DifferenceMap')}


def runner_of(folder, **options):
    cfg = Config.fromfile(CONFIG)
    cfg.test_cfg = dict(dict(type=LOOP, explainers=EXPLAINERS, steps=1,
                             num_images=2), **options)
    cfg.test_evaluator = dict(type=METRIC)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.visualizer = dict(type='Visualizer', name=str(folder))
    cfg.work_dir = str(folder)
    return build_runner(cfg, str(WEIGHTS))


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A folder with a finished run, and its runner."""
    folder = tmp_path_factory.mktemp('run')
    runner = runner_of(folder)
    runner.test()
    return folder, runner


def test_methods_may_have_any_name(finished):
    folder, _ = finished
    record = json.loads((folder / 'del_ins.json').read_text())
    assert list(record['explainers']) == list(EXPLAINERS)
    assert list(record['differences']) == ['mine - shape-diff']
    assert record['settings']['explainers']['mine']['type'] == 'DifferenceMap'
    difference = record['differences']['mine - shape-diff']['deletion']
    mine, plain = (record['explainers'][name]['deletion']['target']
                   for name in ('mine', 'shape-diff'))
    assert difference['target']['mean'] == mine - plain


def test_what_is_written_is_what_the_metric_knows(finished):
    folder, runner = finished
    record = runner.test_loop.metric.record
    written = json.loads((folder / 'del_ins.json').read_text())
    assert written == json.loads(json.dumps(record.as_dict()))
    assert record.figures.num_images == 2 and not record.failed
    rows = pq.read_table(folder / 'objects.parquet').to_pylist()
    assert len(rows) == 2 * record.figures.num_objects
    assert (folder / 'curves.png').stat().st_size > 10000


def test_a_finished_run_is_not_measured_again(finished):
    folder, runner = finished
    journal = (folder / 'journal/0.jsonl').read_bytes()
    runner.test_loop.metric.resume = True
    record = runner.test_loop.metric.record
    runner.test_loop.run()
    assert (folder / 'journal/0.jsonl').read_bytes() == journal
    assert runner.test_loop.metric.record == record


def test_an_earlier_run_is_kept(finished):
    _, runner = finished
    runner.test_loop.metric.resume = False
    with pytest.raises(ValueError, match='holds an earlier run: go on with'):
        runner.test_loop.run()


def test_weights_that_are_not_finite(tmp_path):
    runner = runner_of(tmp_path)
    runner.model.bbox_head.conv_cls.bias.data[0] = float('nan')
    with pytest.raises(ValueError, match=r'bbox_head\.conv_cls\.bias hold val'
                       'ues that are not finite'):
        runner.test()
    assert not (tmp_path / 'journal').exists()


@pytest.mark.parametrize('options, message', [
    (dict(num_images=0), 'num_images must be 1 or more, not 0'),
    (dict(forward_batch_size=0), 'forward_batch_size must be 1 or more'),
    (dict(explainers={}), 'there is no explainer to measure'),
    (dict(explainers=['x']), "unknown explainer 'x'"),
])
def test_options_that_make_no_sense(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        runner_of(tmp_path, **options).test()
