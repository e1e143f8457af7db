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
    result = run(tool, CONFIG, '--occluded', 8, '--page', page, 'fcos')
    assert 'on the patch, against' in result.stdout
    assert '| hidden | 20% |' in page.read_text()
    folder, whole = scenes_as_coco(tmp_path)
    (folder / '1.jpg').write_bytes(whole)
    result = run(tool, CONFIG, '--annotations',
                 folder / 'annotations.json', '--images', folder,
                 '--score-thr', 0.75)
    assert '| noise | 5% |' in result.stdout
    assert '| hidden |' not in result.stdout
    result = run(tool, CONFIG, '--occluded', 1, '--explainer', 'd-rise',
                 expect=1)
    assert 'd-rise does not tell what speaks against' in result.stderr
    result = run(tool, CONFIG, expect=2)
    assert 'give either --annotations and --images' in result.stderr
