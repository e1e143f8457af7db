import json

import pytest

from mmdet_diffmap.evaluation.journal import Journal, differences, sort_key

SETTINGS = dict(model=dict(thr=0.1, names=['a', 'b']), seed=0)


def entry(image_id, **more):
    return dict(image_id=image_id, **(more or dict(objects=[])))


def started(folder, rank=0):
    journal = Journal(folder, rank)
    journal.check(SETTINGS, resume=True)
    journal.start(SETTINGS)
    return journal


def read(folder):
    journal = Journal(folder)
    places = journal.places()
    return list(journal.entries(
        places[image_id] for image_id in sorted(places, key=sort_key)))


def read_ids(folder):
    return [measured['image_id'] for measured in read(folder)]


def test_all_processes_are_read(tmp_path):
    for rank, ids in enumerate([(5, 1), (3, 'b'), ('a"\\', 10)]):
        journal = started(tmp_path, rank)
        for image_id in ids:
            journal.append(entry(image_id))
    assert read_ids(tmp_path) == [1, 3, 5, 10, 'a"\\', 'b']


def test_an_entry_is_on_disk_at_once(tmp_path):
    journal = started(tmp_path)
    journal.append(entry(1))
    assert len(read(tmp_path)) == 1  # the file is still open
    journal.append(entry(2))
    assert len(read(tmp_path)) == 2


@pytest.mark.parametrize('torn', [b'{"image_id": 3, "obj', b'{',
                                  b'x' * 200000])
def test_a_torn_last_line_is_dropped_and_written_over(torn, tmp_path):
    journal = started(tmp_path)
    journal.append(entry(1))
    journal.append(entry(2))
    journal.close()
    with open(journal.file, 'ab') as file:
        file.write(torn)
    assert read_ids(tmp_path) == [1, 2]
    started(tmp_path).append(entry(3))
    assert read_ids(tmp_path) == [1, 2, 3]
    lines = journal.file.read_text().splitlines()
    assert len(lines) == 3 and all(json.loads(line) for line in lines)


def test_a_first_line_that_is_torn(tmp_path):
    journal = started(tmp_path)
    journal.file.write_bytes(b'{"image_id"')
    assert read(tmp_path) == []
    started(tmp_path).append(entry(3))
    assert len(read(tmp_path)) == 1


def test_what_failed_once_counts_when_it_was_measured(tmp_path):
    for rank, entries in enumerate([
            [entry(1, failed='x'), entry(2), entry(3, failed='y')],
            [entry(1), entry(2, failed='z')]]):
        journal = started(tmp_path, rank)
        for measured in entries:
            journal.append(measured)
    assert read(tmp_path) == [entry(1), entry(2), entry(3, failed='y')]
    assert [place.failed for place in Journal(tmp_path).places().values()] \
        == [False, False, True]


def test_an_earlier_run_is_not_written_over(tmp_path):
    started(tmp_path)
    with pytest.raises(ValueError, match='holds an earlier run: go on with'):
        Journal(tmp_path).check(SETTINGS, resume=False)


def test_a_journal_without_settings(tmp_path):
    started(tmp_path).append(entry(1))
    (tmp_path / 'settings.json').unlink()
    with pytest.raises(ValueError, match=r'settings\.json is missing'):
        Journal(tmp_path).check(SETTINGS, resume=True)


def test_two_runs_do_not_write_into_one_file(tmp_path):
    first = started(tmp_path)
    first.append(entry(1))
    with pytest.raises(OSError, match='another run writes into'):
        Journal(tmp_path).open()
    first.close()
    Journal(tmp_path).open()


def test_other_settings_are_refused_with_the_difference(tmp_path):
    started(tmp_path)
    other = dict(SETTINGS, model=dict(thr=0.2, names=['a', 'b']))
    with pytest.raises(ValueError,
                       match=r'other settings: model\.thr was 0\.1 and is 0'):
        Journal(tmp_path).check(other, resume=True)


def test_differences_are_named():
    before = dict(a=1, b=dict(c=[1, 2], d=3), e=(0, ))
    now = dict(b=dict(c=[1, 5], f=3), e=(0, 1), g=None)
    assert list(differences(before, now)) == [
        'a is gone', 'b.c[1] was 2 and is 5', 'b.d is gone', 'b.f is new',
        'e was [0] and is [0, 1]', 'g is new']
    assert not list(differences(before, before))
