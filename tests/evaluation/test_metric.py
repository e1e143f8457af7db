import pytest

from mmdet_diffmap.evaluation import ExplanationMetric, Methods
from mmdet_diffmap.evaluation.metric import compared_pairs
from mmdet_diffmap.evaluation.run import JournaledRun

NAMES = ['odam', 'odam-diff', 'grad-cam']


def begun(folder, **options):
    """Return a metric that has begun a run, and what was finished before."""
    metric = ExplanationMetric(**options)
    metric.compare(Methods({name: name for name in NAMES}))
    return metric, metric.begin(JournaledRun(folder, {}))


def entry(image_id):
    curves = dict(target=[[1, 0], [1, 0]], others=[[1, 1], [1, 1]])
    scores = dict(deletion=curves, insertion=curves)
    objects = [dict(label=0, score=1, bbox=[0, 0, 1, 1], truth=[0, 0, 1, 1],
                    area=1)] * 2
    return dict(image_id=image_id, objects=objects, untouched=[1, 1],
                scores=dict.fromkeys(NAMES, scores))


def test_what_is_compared(tmp_path):
    metric, finished = begun(tmp_path, against='odam')
    assert compared_pairs(metric.methods, 'odam') == [
        ('odam-diff', 'odam'), ('grad-cam', 'odam')]
    assert not finished
    metric.run.journal.close()


def test_nobody_to_compare_with(tmp_path):
    with pytest.raises(ValueError, match="no explainer 'x' to compare with"):
        begun(tmp_path, against='x')


def test_it_goes_on_with_what_is_there(tmp_path):
    metric, _ = begun(tmp_path)
    for measured in (entry(4), dict(image_id=5, failed='x'), entry(6)):
        metric.process(None, [dict(measured=measured)])
    metric.run.journal.close()
    metric, finished = begun(tmp_path, resume=True)
    assert finished == {4, 6}
    figures = metric.evaluate(3)
    assert figures['explanation/odam/deletion_target'] == 50
    assert metric.record.failed == {'5': 'x'}
    assert metric.record.figures.num_images == 2


def test_images_that_are_in_no_journal(tmp_path):
    metric, _ = begun(tmp_path)
    metric.process(None, [dict(measured=entry(4))])
    with pytest.raises(OSError, match='2 of 3 images are missing'):
        metric.evaluate(3)
    assert not (tmp_path / 'del_ins.json').exists()


def test_only_images_that_are_wanted_count(tmp_path):
    metric, _ = begun(tmp_path)
    for image_id in 4, 5:
        metric.process(None, [dict(measured=entry(image_id))])
    metric.run.journal.close()
    metric = ExplanationMetric(resume=True)
    metric.compare(Methods(dict.fromkeys(NAMES, 'odam')))
    metric.begin(JournaledRun(tmp_path, {}, wanted={5}))
    metric.evaluate(1)
    assert metric.record.figures.num_images == 1


def test_a_metric_without_a_run():
    metric = ExplanationMetric()
    assert metric.record is None
    for use in (lambda: metric.process(None, [dict(measured={})]),
                lambda: metric.evaluate(1)):
        with pytest.raises(RuntimeError, match='ExplanationTestLoop, which'):
            use()
