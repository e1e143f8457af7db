"""Configs of mmdet's wheel, each checked as the tool does it."""
from dataclasses import replace

import pytest
import torch
from families import trace_of

from mmdet_diffmap.lab.zoo import (
    check_config,
    check_each,
    family_of,
    small,
    zoo_configs,
)
from mmdet_diffmap.lab.zoo.check import (
    TOLERANCES,
    WrongError,
    check_heatmaps,
    largest_difference,
)
from mmdet_diffmap.lab.zoo.families import EXCLUDED, ZOOS, Zoo, zoo_folder
from mmdet_diffmap.tracing.trace import OUTPUTS

#: Folders of detectors that have little in common, and how their gradients
#: are found.
UNLIKE = {
    'centernet': 'window',  # a heat map of centres
    'mask_rcnn': 'roi',  # masks
}
SLOW = {
    'atss': 'coupled',  # group normalisation
    'dcnv2': 'roi',  # deformable convolution
    'rtmdet': 'window',  # heads of their own for each level
    'bytetrack': 'window',  # a tracker's
    'cascade_rcnn': 'roi',  # stages that vote
    'conditional_detr': 'dense',  # queries
    'deformable_detr': 'dense',  # deformable attention
    'faster_rcnn': 'roi',  # no neck
    'htc': 'roi',  # regions of another branch's features as well
    'masktrack_rcnn': 'roi',  # a tracker's, with masks
    'paa': 'coupled',  # boxes that vote
    'sabl': 'roi',  # sides of boxes in buckets
    'soft_teacher': 'roi',  # a detector in a detector
    'ssd': 'window',  # whose head mmdet 3.3.0 has broken
    'yolo': 'window',  # objectness, and classes above a threshold
    'yolof': 'window',  # one level
}
SMALL = ((96, 128), )
#: Of each detector with queries.
LAYERS = ('model = dict(encoder=dict(num_layers=2), '
          'decoder=dict(num_layers=2), num_queries=60)')


@pytest.fixture
def check_family(tmp_path, monkeypatch):
    """Checks the zoo's detector of a name, with fewer layers of a transformer
    and fewer proposals: each has a part in the whole prediction's graph."""
    monkeypatch.setattr(small, 'PROPOSALS', 10)

    def check(name, strategy):
        config = config_with(tmp_path, LAYERS * ('detr' in name), name)
        return checked_family(config, strategy)

    return check


def checked_family(config, strategy):
    checked = check_config(config, SMALL)
    assert (checked.status, checked.reason) == ('works', '')
    assert checked.strategy == strategy
    assert tuple(checked.outputs) == OUTPUTS
    assert checked.difference <= TOLERANCES[checked.double]
    assert checked.seconds > 0
    return checked


@pytest.mark.parametrize('name, strategy', UNLIKE.items())
def test_unlike_families(name, strategy, check_family):
    checked = check_family(name, strategy)
    # of masks, too: not a number where none of them has a pixel
    assert (checked.mask <= TOLERANCES[checked.double]) == (
        name == 'mask_rcnn')


@pytest.mark.slow
@pytest.mark.parametrize('name, strategy', SLOW.items())
def test_unlike_families_that_take_long(name, strategy, check_family):
    check_family(name, strategy)


def test_every_folder_is_checked_or_left_out_with_a_reason():
    folders = {path.name for path in zoo_folder().iterdir() if path.is_dir()}
    configs = zoo_configs()
    assert set(configs) | set(EXCLUDED) == folders | {'clrnet'}
    assert not set(configs) & set(EXCLUDED)
    assert all(EXCLUDED.values())
    for name, config in configs.items():
        assert config.is_file() and config.parent.name == name
    assert configs['fcos'].stem == 'fcos_r50-caffe_fpn_gn-head_1x_coco'


@pytest.fixture
def other_package(tmp_path, monkeypatch):
    """A package with a zoo of its own."""
    root = tmp_path / 'other_zoo' / '.mim' / 'configs'
    for name in '_base_/a', 'first/b', 'first/a', 'first/inner/c', 'pose/d':
        file = root / f'{name}.py'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / 'first' / 'metafile.yml').write_text(
        'Models:\n- Config: configs/first/b.py\n')
    (tmp_path / 'other_zoo' / '__init__.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_families_of_another_package(other_package, monkeypatch):
    configs = zoo_configs('other_zoo')
    assert configs == {'first': other_package / 'first/b.py',
                       'pose': other_package / 'pose/d.py'}
    zoo = Zoo({'pose': 'finds no boxes', '_base_': 'holds parts'},
              nested=True, besides={'first-a': 'first/a.py'})
    monkeypatch.setitem(ZOOS, 'other_zoo', zoo)
    configs = zoo_configs('other_zoo')
    assert {name: path.stem for name, path in configs.items()} == {
        'first': 'b', 'first-a': 'a', 'first/inner': 'c'}
    assert [family_of(path) for path in configs.values()] == [
        'first', 'first', 'first/inner']
    for name in 'no_such_package', 'mmdet.apis':
        with pytest.raises(FileNotFoundError, match='is no installed package'):
            zoo_configs(name)
    with pytest.raises(FileNotFoundError, match='without its configs'):
        zoo_configs('yaml')


def config_with(tmp_path, text, base='rtmdet'):
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = [{str(zoo_configs()[base])!r}]\n{text}\n')
    return path


@pytest.mark.parametrize('text, status, reason', [
    ("custom_imports = dict(imports=['no_such_package.models'])", 'needs',
     'a package: no_such_package'),
    ("model = dict(neck=dict(type='NoSuchNeck'))", 'fails',
     "ValueError: the model of config"),
    ("model = dict(bbox_head=dict(in_channels=5))", 'fails',
     'the detector itself raises RuntimeError'),
    ("model = dict(test_cfg=dict(max_per_img=0))", 'fails',
     'random weights find nothing'),
])
def test_what_does_not_work_has_a_reason(tmp_path, text, status, reason):
    checked = check_config(config_with(tmp_path, text), SMALL)
    assert checked.status == status
    assert checked.reason.startswith(reason)


def test_processes_that_end_without_a_result(tmp_path):
    sleeping, killed = tmp_path / 'sleeping.py', tmp_path / 'killed.py'
    sleeping.write_text("__import__('time').sleep(600)\n")
    killed.write_text("__import__('os')._exit(9)\n")
    results = {checked.config: checked for checked in check_each(
        [sleeping, killed, tmp_path / 'none.py'], jobs=2, seconds=3)}
    assert results[str(sleeping)].reason == 'no result within 3 s'
    assert results[str(killed)].reason.startswith('its process was killed')
    assert 'FileNotFoundError' in results[str(tmp_path / 'none.py')].reason
    assert {checked.status for checked in results.values()} == {'fails'}


@pytest.fixture
def trace():
    return trace_of('fcos').select(slice(2))


def changed(trace, factor, output='score'):
    """Return a trace whose second detection has other gradients of one
    output."""
    def source(outputs, columns, tolerance):
        for gradient in trace.source(outputs, columns, tolerance):
            if gradient.output == output:
                gradient = replace(gradient, levels=[
                    replace(level, gradients=torch.stack([
                        each * (factor if detection == 1 else 1)
                        for detection, each in zip(
                            level.windows.detections, level.gradients)]))
                    for level in gradient.levels])
            yield gradient
    return replace(trace, source=source)


@pytest.mark.parametrize('output', ['score', 'y2'])
def test_wrong_gradients_are_found(trace, output):
    assert largest_difference(trace, trace, OUTPUTS) == 0
    assert largest_difference(changed(trace, 1.25, output), trace, OUTPUTS) \
        == pytest.approx(0.25, rel=1e-3)
    missing = replace(trace, source=lambda outputs, columns, tolerance: (
        replace(gradient, levels=[])
        for gradient in trace.source(outputs, columns, tolerance)))
    assert largest_difference(missing, trace, OUTPUTS) == pytest.approx(1)
    with pytest.raises(WrongError, match='a score has no gradient'):
        largest_difference(trace, changed(trace, 0), OUTPUTS)
    for pair in (changed(trace, torch.nan, output), trace), (
            trace, changed(trace, torch.inf, output)):
        with pytest.raises(ValueError, match='a gradient is not finite'):
            largest_difference(*pair, OUTPUTS)
    other = replace(trace, detections=trace.detections[[1, 0]])
    with pytest.raises(WrongError, match='not those of the detector'):
        largest_difference(other, trace, OUTPUTS)


@pytest.mark.parametrize('change, message', [
    (lambda maps: maps[:1], 'have shape'),
    (lambda maps: maps * torch.nan, 'not finite'),
    (lambda maps: maps - 1, r'leaves \[0, 1\]'),
    (lambda maps: maps * 2, r'leaves \[0, 1\]'),
    (lambda maps: maps * 0, 'empty map'),
])
def test_wrong_maps_are_found(trace, change, message):
    maps = torch.rand(2, *trace.frame.image_shape)
    check_heatmaps(maps, trace)
    with pytest.raises(WrongError, match=message):
        check_heatmaps(change(maps), trace)
