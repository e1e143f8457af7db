"""Progress where there is no terminal."""
import io

from rich.console import Console

from mmdet_diffmap.io.progress import (
    ProgressLines,
    duration,
    progress_bar,
)


def lines_of(steps, seconds, nested=0):
    """What is printed by a task of so many steps that take so long each; each
    may have steps of its own."""
    out, now = io.StringIO(), [0.]
    with ProgressLines(Console(file=out), lambda: now[0]) as progress:
        outer = progress.add_task('images', total=steps)
        for _ in range(steps):
            if nested:
                inner = progress.add_task('masks', total=nested)
                for _ in range(nested):
                    now[0] += seconds / nested
                    progress.update(inner, advance=1)
                progress.remove_task(inner)
            else:
                now[0] += seconds
            progress.advance(outer)
    return out.getvalue().splitlines()


def test_short_work_says_nothing():
    assert lines_of(9, 1) == []
    assert lines_of(1, 1000) == []


def test_a_line_every_tenth_or_ten_seconds():
    # 50 steps of 1 s: a tenth takes 5 s, so that ten seconds count
    assert lines_of(50, 1) == [
        '10 of 50 images, 20%, about 40 s left',
        '20 of 50 images, 40%, about 30 s left',
        '30 of 50 images, 60%, about 20 s left',
        '40 of 50 images, 80%, about 10 s left']
    # 1000 steps of 2 s: a tenth takes 200 s
    lines = lines_of(1000, 2)
    assert [line.split()[0] for line in lines] == [
        str(100 * tenth) for tenth in range(1, 10)]


def test_work_of_hours_says_something_every_ten_minutes():
    lines = lines_of(1000, 60)  # a tenth takes 100 minutes
    assert len(lines) == 99
    assert lines[0] == '10 of 1000 images, 1%, about 16.5 h left'


def test_work_inside_of_work_says_less():
    lines = lines_of(10, 300, nested=100)
    assert len(lines) == 9 + 10 * 4
    assert next(line for line in lines if 'masks' in line) == \
        '20 of 100 masks, 20%, about 4 min left'


def test_two_minutes_are_told_in_seconds_or_minutes():
    assert [duration(seconds) for seconds in (0.4, 99, 100, 5999, 7200)] == [
        '0 s', '99 s', '2 min', '100 min', '2.0 h']


def test_it_ends_in_silence(capfd):
    with progress_bar('images', 3) as advance:
        advance(3)
    assert capfd.readouterr() == ('', '')


def test_what_is_done_already_does_not_count_for_the_time():
    out, now = io.StringIO(), [0.]
    with ProgressLines(Console(file=out), lambda: now[0]) as progress:
        task = progress.add_task('images', total=100, completed=80)
        for _ in range(11):
            now[0] += 5
            progress.advance(task)
    assert out.getvalue().splitlines()[0] == \
        '82 of 100 images, 82%, about 90 s left'
