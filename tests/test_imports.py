"""What may import what. The rooms of the package are floors of a house: each
imports from its own and from those below."""
import ast
import sys
from pathlib import Path

import pytest
from demo import ROOT

PACKAGE = ROOT / 'mmdet_diffmap'
#: From the ground up; rooms of one line stand side by side.
FLOORS = [
    {'version', 'host'},
    {'registry', 'ops', 'maps'},
    {'io', 'datasets'},
    {'tracing'},
    {'explainers'},
    {'visualization'},
    {'report'},
    {'apis'},
    {'hooks', 'evaluation', 'serve'},
    {'errors'},
    {'lab'},
    {'cli'},
]
#: Those that every program begins with; they gather the rest.
DOORS = {'__init__', '__main__', 'plugin'}
#: Who may know the insides of the host.
INSIDERS = ('tracing', 'lab', 'apis/loading', 'host.py')
HOSTS = ('mmcv', 'mmdet', 'mmengine')
MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob('*.py')
    if '.mim' not in path.parts)


def room_of(path):
    """The room in which a module lies."""
    return path.parts[0].removesuffix('.py')


def floor_of(room):
    return next(number for number, rooms in enumerate(FLOORS)
                if room in rooms)


def imports_of(path):
    """The full names of what a module imports, for types or at any time."""
    package = ['mmdet_diffmap', *path.parent.parts]
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] \
                if node.level else []
            parts = [*base, *filter(None, [node.module])]
            yield from ('.'.join([*parts, alias.name]) for alias in node.names)


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in MODULES}
    assert rooms - DOORS == set.union(*FLOORS)


@pytest.mark.parametrize('path', MODULES, ids=str)
def test_nothing_points_upward(path):
    room = room_of(path)
    if room in DOORS:
        return
    for name in imports_of(path):
        parts = name.split('.')
        if parts[0] == 'mmdet_diffmap':
            if (room, parts[1:2]) == ('cli', ['plugin']):
                continue  # which registers all when a command's work starts
            assert len(parts) > 1 and parts[1] not in DOORS, name
            assert parts[1] == room or \
                floor_of(parts[1]) < floor_of(room), name


@pytest.mark.parametrize(
    'path', [path for path in MODULES if room_of(path) == 'maps'], ids=str)
def test_maps_know_torch_alone(path):
    for name in imports_of(path):
        first, *rest = name.split('.')
        assert first in ('torch', *sys.stdlib_module_names) or \
            (first, rest[0]) == ('mmdet_diffmap', 'maps'), name


@pytest.mark.parametrize('path', MODULES, ids=str)
def test_the_hosts_insides_are_known_in_few_places(path):
    if path.as_posix().startswith(INSIDERS):
        return
    for name in imports_of(path):
        parts = name.split('.')
        if parts[0] in HOSTS:
            assert parts[:2] != ['mmdet', 'models'], name
            assert not any(part.startswith('_') for part in parts), name


def test_tools_are_a_few_lines():
    for path in sorted(Path(ROOT / 'tools').glob('*.py')):
        assert len(path.read_text().splitlines()) < 20, path
