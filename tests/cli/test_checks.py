"""The commands that check what is said of errors."""
import pytest
from coco_scenes import scenes_as_coco
from demo import CONFIG, ROOT
from programs import run

PAGE = '# A page\n\n<!-- table {} -->\n<!-- end -->\n'


@pytest.mark.slow
def test_planted_errors_go_into_a_page(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE.format('planted') + PAGE.format('badges'))
    result = run(ROOT / 'tools/check_errors.py', '--scenes', 1, '--twins', 1,
                 '--seed', 0, '--page', page)
    rows = [line for line in result.stdout.splitlines()
            if line.startswith('| one detection at most | fcos')]
    assert len(rows) == 1 and rows[0] in page.read_text()
    assert '| retinanet-pvt |' in page.read_text()


@pytest.mark.slow
def test_evidence_in_scenes_and_photographs(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE.format('fcos'))
    tool = ROOT / 'tools/check_evidence.py'
    result = run(tool, CONFIG, '--occluded', 3, '--page', page, 'fcos')
    assert 'on the patch, against' in result.stdout
    assert '| hidden | 20% |' in page.read_text()
    folder, whole = scenes_as_coco(tmp_path)
    (folder / '1.jpg').write_bytes(whole)
    result = run(tool, CONFIG, '--annotations',
                 folder / 'annotations.json', '--images', folder,
                 '--score-thr', 0.75)
    assert '| noise | 5% |' in result.stdout
    assert '| hidden |' not in result.stdout
    result = run(tool, CONFIG, '--occluded', 1, '--explainer', 'odam',
                 'd-rise', expect=1)
    assert 'd-rise does not tell what speaks against' in result.stderr
    assert not result.stdout


@pytest.mark.slow
def test_evidence_of_several_methods_for_found_objects(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE.format('against') + PAGE.format('for'))
    result = run(ROOT / 'tools/check_evidence.py', CONFIG, '--scenes', 2,
                 '--objects', 'found', '--explainer', 'odam', 'grad-cam',
                 '--page', page, 'against', 'for')
    assert 'What speaks for goes, grad-cam:' in result.stdout
    assert ' found objects, scores ' in result.stdout
    against, _, speaks_for = page.read_text().partition('<!-- end -->')
    for table, names in ((against, ('against, turned', 'for')),
                         (speaks_for, ('for, turned', 'against'))):
        head = next(line for line in table.splitlines()
                    if line.startswith('| method |'))
        assert [part.strip() for part in head.split('|')[4:-1]] == [
            'change of the score', *(f'more than {name}' for name in (
                'either way', 'random', *names))]
        for method in ('odam', 'grad-cam'):
            assert table.count(f'| {method} | ') == 6
            assert f'| {method} | mean | 20% | ' in table


@pytest.mark.parametrize('arguments, problem', [
    ((), 'give either --annotations and --images'),
    (('--scenes', 1, '--occluded', 1), 'give either --annotations'),
    (('--scenes', 1, '--page', 'page.md'), '--page takes a file and'),
    (('--scenes', 1, '--objects', 'lost'), "invalid choice: 'lost'")])
def test_evidence_of_nothing(arguments, problem):
    result = run(ROOT / 'tools/check_evidence.py', CONFIG, *arguments,
                 expect=2)
    assert problem in result.stderr


@pytest.mark.slow
def test_separation_in_scenes_and_photographs(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE.format('pairs'))
    tool = ROOT / 'tools/check_separation.py'
    result = run(tool, CONFIG.with_name('fcos_pairs.py'), '--scenes', 1,
                 '--page', page, 'pairs')
    assert '1 pairs on 1 images, in per cent; the cue is' in result.stdout
    for name in 'common extents', 'middle line', 'cue':
        assert f'| {name} |' in page.read_text()
    folder, whole = scenes_as_coco(tmp_path)
    (folder / '1.jpg').write_bytes(whole)
    result = run(tool, CONFIG, '--annotations',
                 folder / 'annotations.json', '--images', folder,
                 '--score-thr', 1, expect=1)
    assert 'of no pair both objects are found' in result.stderr


@pytest.mark.parametrize('arguments', [
    (), ('--scenes', 1, '--annotations', 'a.json', '--images', 'i')])
def test_separation_of_nothing(arguments):
    result = run(ROOT / 'tools/check_separation.py', CONFIG, *arguments,
                 expect=2)
    assert 'give either --annotations and --images, or' in result.stderr
