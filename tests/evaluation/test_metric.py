import pytest

from mmdet_diffmap.evaluation import ExplanationMetric, Methods

NAMES = ['odam', 'odam-diff', 'grad-cam']


def opened(folder, **options):
    metric = ExplanationMetric(**options)
    done = metric.open(folder, {}, NAMES, Methods({n: n for n in NAMES}))
    return metric, done


def entry(image_id):
    curves = dict(target=[[1, 0], [1, 0]], others=[[1, 1], [1, 1]])
    scores = dict(deletion=curves, insertion=curves)
    objects = [dict(label=0, score=1, bbox=[0, 0, 1, 1], truth=[0, 0, 1, 1],
                    area=1)] * 2
    return dict(image_id=image_id, objects=objects, untouched=[1, 1],
                scores=dict.fromkeys(NAMES, scores))


def test_what_is_compared(tmp_path):
    metric, done = opened(tmp_path, against='odam')
    assert metric.pairs == [('odam-diff', 'odam'), ('grad-cam', 'odam')]
    assert not done
    metric.journal.close()


def test_nobody_to_compare_with(tmp_path):
    with pytest.raises(ValueError, match="no explainer 'x' to compare with"):
        opened(tmp_path, against='x')


def test_it_goes_on_with_what_is_there(tmp_path):
    metric, _ = opened(tmp_path)
    for one in (entry(4), dict(image_id=5, failed='x'), entry(6)):
        metric.process(None, [dict(measured=one)])
    metric.journal.close()
    metric, done = opened(tmp_path, resume=True)
    assert done == {4, 6}
    found = metric.evaluate(3)
    assert found['explanation/odam/deletion_target'] == 50
    assert metric.record['failed'] == {'5': 'x'}
    assert metric.record['num_images'] == 2


def test_images_that_are_in_no_journal(tmp_path):
    metric, _ = opened(tmp_path)
    metric.process(None, [dict(measured=entry(4))])
    with pytest.raises(OSError, match='2 of 3 images are missing'):
        metric.evaluate(3)
    assert not (tmp_path / 'del_ins.json').exists()
