"""One name for one option in all commands, and help that teaches it."""
import shlex

import pytest
from demo import CONFIG, ROOT
from programs import inside, main_of, run

from mmdet_diffmap.__main__ import COMMANDS
from mmdet_diffmap.cli import options
from mmdet_diffmap.cli.parser import OLD_NAMES, CommandParser, broken

TOOLS = sorted((ROOT / 'tools').glob('*.py'))
PROGRAMS = [*COMMANDS, *TOOLS]
#: What no number may be, whatever it is for.
BAD = ('nan', '-1', 'high', '1.5.2')


def parser_of(program, monkeypatch):
    """The parser of a command, or of a tool."""
    parsers = []

    def read(self, argv):
        parsers.append(self)
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(CommandParser, 'read', read)
        if isinstance(program, str):
            main_of('mmdet-diffmap')([program])
        else:
            main_of(program)([])
    return parsers[0]


@pytest.fixture(params=PROGRAMS, ids=str)
def parser(request, monkeypatch):
    return parser_of(request.param, monkeypatch)


def examples(parser):
    """The arguments of the examples in a command's help."""
    text = parser.epilog.replace('\\\n', ' ')
    return [shlex.split(line)[len(parser.prog.split()):]
            for line in text.splitlines()[1:]]


def test_help_has_groups_and_examples_in_80_columns(parser, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    lines = parser.format_help().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == f'usage: {parser.usage % dict(prog=parser.prog)}'
    assert len(parser.prog.split()) == 2
    groups = [group.title for group in parser._action_groups
              if any(action.help != '==SUPPRESS==' for action in
                     group._group_actions)]
    assert {'inputs', 'detector'} & set(groups)
    assert 'positional arguments' not in groups
    assert [action.dest for action in
            parser._optionals._group_actions] == ['help']
    assert 'examples:' in lines


def test_examples_are_read(parser):
    for arguments in examples(parser):
        parser.read(arguments)


def test_names_that_help_teaches_are_none_of_the_old(parser):
    shown = {name for action in parser._actions
             if action.help != '==SUPPRESS==' for name in
             action.option_strings}
    old = {name for name, new in parser.old_names.items() if new in shown}
    assert not shown & old
    assert set(OLD_NAMES) <= set(parser.old_names)


def test_numbers_are_refused_at_once(parser, capsys):
    arguments = examples(parser)[-1]
    for action in parser._actions:
        if action.type is None or 'local_rank' in action.dest or \
                action.choices:
            continue
        assert action.type not in (int, float), action.option_strings
        name = action.option_strings[-1]
        places = action.nargs if isinstance(action.nargs, int) else 1
        for value in BAD:
            with pytest.raises(SystemExit) as end:
                parser.read([*arguments, name, *[value] * places])
            assert end.value.code == 2
            said = capsys.readouterr().err
            assert f'argument {name}: ' in said and f'{value} is not a' in said


def test_one_option_means_the_same_everywhere(monkeypatch):
    meanings = {}
    for program in PROGRAMS:
        parser = parser_of(program, monkeypatch)
        for action in parser._actions:
            for name in action.option_strings:
                meanings.setdefault(name, {})[parser.prog] = (
                    action.type, action.metavar, type(action))
    for name in ('--score-thr', '--max-objects', '--work-dir', '--out-dir',
                 '--resume', '--launcher', '--device', '--cfg-options',
                 '--explainer', '--explainer-options', '--num-images',
                 '--seed', '--picture', '--repeat', '--scenes',
                 '--colours', '--evidence', '--target-layer', '--outputs'):
        assert len(meanings[name]) > 1 or name in (
            '--out-dir', '--repeat'), name
        assert len(set(meanings[name].values())) == 1, meanings[name]


@pytest.mark.parametrize('program, arguments, message', [
    ('benchmark', ['--explainers', 'x'], "unknown explainer 'x'"),
    ('errors', ['--method', 'x'], "unknown explainer 'x'"),
    ('benchmark', ['--weights', 'none.pth'], 'none.pth do not exist'),
    ('errors', ['--weights', 'none.pth'], 'none.pth do not exist'),
    ('sanity-check', ['scene://0/2', CONFIG, '--checkpoint', 'none.pth'],
     'none.pth do not exist'),
    ('explain', ['scene://0/2', CONFIG, '--checkpoint', 'none.pth'],
     'none.pth do not exist'),
    ('explain', ['scene://0/2', CONFIG, '--work-dir', 'file'],
     'output folder file cannot be made'),
    ('check-zoo', ['x', '--out-dir', 'w'], 'x is no config file'),
    ('check-zoo', ['fcos', '--update', 'none.md'], 'none.md'),
])
def test_earlier_names_are_understood(program, arguments, message, tmp_path):
    (tmp_path / 'file').write_text('')
    if program in ('benchmark', 'errors'):
        arguments = [CONFIG, *arguments]
    result = run('mmdet-diffmap', program, *arguments, cwd=tmp_path,
                 expect=1)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


@pytest.mark.parametrize('option, name', [
    ('--score-threshold', '--score-thr'),
    ('--pred-score-thr', '--score-thr'),
    ('--pred-score-thr=2', '--score-thr')])
def test_errors_teach_the_names_of_the_help(option, name):
    values = [] if '=' in option else ['2']
    result = inside(['mmdet-diffmap', 'explain', 'a.jpg', option, *values,
                     'b.py'])
    assert result.returncode == 2
    assert f'argument {name}: 2 is not a number from 0 to 1' in result.stderr


@pytest.mark.parametrize('option, answer', [
    ('--score-treshold=0.3', 'no option --score-treshold, but --score-thr'),
    ('--max-object', None),  # a beginning of a name is enough
    ('--zzz', 'there is no option --zzz; --help lists all')])
def test_an_option_that_there_is_not(option, answer, capsys):
    parser = CommandParser('x', '', '')
    options.add_selection(parser)
    values = [] if '=' in option else ['3']
    if answer is None:
        assert parser.read([option, *values]).max_objects == 3
        return
    with pytest.raises(SystemExit):
        parser.read([option, *values])
    assert answer in capsys.readouterr().err


def test_options_may_stand_between_paths():
    parser = CommandParser('x', '', '')
    options.add_annotated_detector(parser)
    parser.add_argument('--resume', action='store_true')
    args = parser.read(['a.py', '--resume', 'b.pth'])
    assert (args.config, args.checkpoint, args.resume) == (
        'a.py', 'b.pth', True)
    assert parser.read(['a.py', '--weights', 'b.pth']).checkpoint == 'b.pth'
    assert parser.read(['a.py']).checkpoint is None


def test_weights_that_are_given_twice(capsys):
    parser = CommandParser('x', '', '')
    options.add_annotated_detector(parser)
    with pytest.raises(SystemExit):
        parser.read(['a.py', 'b.pth', '--weights', 'c.pth'])
    assert 'the weights are given twice' in capsys.readouterr().err


def test_long_examples_are_broken_where_a_shell_takes_it():
    command = 'program ' + 'word ' * 9 + '--first 1 --second ' + 'x' * 40
    text = broken(command)
    assert all(len(line) < 80 for line in text.splitlines())
    assert shlex.split(text.replace('\\\n', '')) == shlex.split(command)
