"""Which mmdet is installed, whoever publishes it, or that none is."""
import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from mmdet.models.layers.transformer.grounding_dino_layers import (
    GroundingDinoTransformerDecoder,
)
from mmdet.models.layers.transformer.utils import coordinate_to_encoding

from mmdet_diffmap import host
from mmdet_diffmap.cli.installation import is_met, packages

#: One part of each host, as pip would have installed it.
LITE = {'mmdet': '3.3.0', 'mmengine': '0.10.7', 'mmcv-lite': '2.1.0'}
ONEDL = {'onedl-mmdetection': '3.5.1', 'onedl-mmengine': '0.10.12',
         'onedl-mmcv': '2.3.6'}
REQUIRED = ['torch>=2.1', 'mmdet>=3.3.0; extra == "lite"',
            'mmcv-lite<2.2,>=2.0.1; extra == "lite"',
            'onedl-mmcv>=2.3.6; extra == "onedl"']


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes some distributions all that are installed."""

    def put(versions):
        for name, version in versions.items():
            folder = tmp_path / f'{name.replace("-", "_")}-{version}.dist-info'
            folder.mkdir()
            (folder / 'METADATA').write_text(
                f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        monkeypatch.setattr(sys, 'path', [str(tmp_path)])

    return put


def lines():
    return {line.name: line for line in packages()}


@pytest.mark.parametrize('versions, extra', [(LITE, 'lite'),
                                             (ONEDL, 'onedl')])
def test_either_host_is_known(versions, extra, install):
    install(versions)
    assert host.current_host().extra == extra
    for module, name in zip(host.MODULES, versions):
        assert host.installed_distributions(module) == {name: versions[name]}
        assert lines()[module].state == 'ok'
    assert 'onedl' in lines()['mmcv'].text or extra == 'lite'


def test_a_mixture_is_a_problem(install):
    install({**LITE, 'onedl-mmcv': '2.3.6'})
    assert lines()['mmcv'].text == 'mmcv-lite and onedl-mmcv share one folder'
    assert lines()['mmcv'].state == 'problem'
    assert lines()['mmdet'].state == 'ok'


def test_parts_of_two_hosts_are_a_problem(install):
    install({**LITE, 'mmengine': '0.10.7', 'onedl-mmengine': '0.10.12'})
    assert lines()['mmengine'].state == 'problem'


def test_a_part_of_another_host_is_a_problem(install):
    install({'mmdet': '3.3.0', 'onedl-mmengine': '0.10.12'})
    line = lines()['mmengine']
    assert line.text == 'onedl-mmengine does not belong to mmdet'
    assert 'pip uninstall onedl-mmengine' in line.way_out
    assert 'mmdet_diffmap[onedl]' in line.way_out


@pytest.mark.parametrize('versions, wrong', [
    (LITE, []), (ONEDL, []),
    ({**LITE, 'mmdet': '3.2.0'}, [REQUIRED[1]]),
    # compiled, and too new for mmdet
    ({'mmdet': '3.3.0', 'mmcv': '2.2.0'}, [REQUIRED[2]]),
    ({'mmdet': '3.3.0', 'mmcv': '2.1.0'}, []),
    ({**ONEDL, 'onedl-mmcv': '2.3.0'}, [REQUIRED[3]]),
])
def test_versions_of_the_host_at_hand_are_asked_for(versions, wrong, install):
    install({**versions, 'torch': '2.14.1'})
    assert [requirement for requirement in REQUIRED
            if not is_met(requirement)] == wrong


@pytest.mark.parametrize('torch, numpy, state', [
    ('2.1.2+cu121', '2.2.6', 'problem'), ('2.1.2', '1.26.4', 'ok'),
    ('2.3.0', '2.2.6', 'ok')])
def test_numpy_is_compared_with_torch(torch, numpy, state, install):
    install({**LITE, 'torch': torch, 'numpy': numpy})
    assert lines()['numpy'].state == state


def test_mmengine_looks_for_ops_without_pkgutil(monkeypatch):
    """As Python 3.14 lets it."""
    from mmengine.utils.dl_utils import misc
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    monkeypatch.setattr(misc, 'pkgutil', pkgutil, raising=False)
    host.mend_host()
    assert misc.mmcv_full_available() == (find_spec('mmcv._ext') is not None)


def test_grounding_dino_takes_boxes_encoded_for_dino():
    """In onedl-mmdetection 3.5.1 they have twice the features."""
    sizes = dict(embed_dims=256, num_heads=8)
    decoder = GroundingDinoTransformerDecoder(
        num_layers=1, return_intermediate=True, post_norm_cfg=None,
        layer_cfg=dict(self_attn_cfg=sizes, cross_attn_text_cfg=sizes,
                       cross_attn_cfg=sizes, ffn_cfg=dict(embed_dims=256)))
    torch.manual_seed(0)
    boxes = torch.rand(2, 3, 4)
    position = decoder.ref_point_head(coordinate_to_encoding(boxes))
    torch.testing.assert_close(decoder.ref_point_head(
        coordinate_to_encoding(boxes, num_feats=256)), position)
    with pytest.raises(RuntimeError):
        decoder.ref_point_head(coordinate_to_encoding(boxes, num_feats=64))


def start(tmp_path, hidden, *arguments):
    """Run the command where modules are missing."""
    program = tmp_path / 'mmdet-diffmap'
    program.write_text(
        'import sys\n'
        f'sys.modules.update(dict.fromkeys({hidden!r}))\n'
        'from mmdet_diffmap.__main__ import main\n'
        'sys.exit(main())\n')
    return subprocess.run([sys.executable, program, *arguments], cwd=tmp_path,
                          capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize('hidden, text', [
    (['mmdet'], 'mmdet is not installed: '),
    (['mmdet', 'mmcv'], 'mmdet and mmcv are not installed: ')])
def test_a_command_without_a_host(hidden, text, tmp_path):
    result = start(tmp_path, hidden, 'explain')
    assert result.returncode == 1
    assert result.stderr == (
        'error: mmdet_diffmap explains detectors of MMDetection, and '
        f'{text}{host.INSTALL}\n')
    assert result.stdout == ''


def test_doctor_without_a_host(tmp_path):
    result = start(tmp_path, ['mmengine', 'mmdet'], 'doctor')
    assert result.returncode == 1 and not result.stderr
    said = ' '.join(result.stdout.split())
    for module in 'mmdet', 'mmengine':
        assert f'problem {module} is not installed; {host.INSTALL}' in said
    assert said.endswith('2 problems; each line says the way out')


@pytest.mark.slow
def test_the_package_without_a_host():
    """As in a program of one's own, and behind ``custom_imports``."""
    result = subprocess.run(
        [sys.executable, '-c', 'import sys; sys.modules["mmcv"] = None\n'
         'import mmdet_diffmap'], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        'mmdet_diffmap.host.NoHostError: mmdet_diffmap explains detectors of '
        f'MMDetection, and mmcv is not installed: {host.INSTALL}')
