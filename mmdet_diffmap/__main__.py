# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""``mmdet-diffmap``, which runs the commands of ``cli/``."""
import sys
from collections.abc import Sequence
from importlib import import_module

from .version import __version__

#: For each command its module, options that go before the user's, and what
#: it does.
COMMANDS: dict[str, tuple[str, list[str], str]] = {
    'explain': ('explain', [],
                'heat maps and difference maps of all objects in images'),
    'report': ('explain', ['--report'],
               'the same, and a page that shows them interactively'),
    'serve': ('serve', [],
              'a page that explains photographs which are dropped into it'),
    'errors': ('errors', [],
               'what a detector misses or gets wrong, why, and what it costs'),
    'benchmark': ('benchmark', [],
                  'Deletion and Insertion over a data set'),
    'sanity-check': ('sanity_check', [],
                     'whether maps depend on what the detector learned'),
    'figure': ('figure', [],
               'the paper\'s figures, of your images and detectors'),
    'check-zoo': ('check_zoo', [],
                  'whether a detector can be explained'),
    'doctor': ('doctor', [],
               'whether all that is needed is installed and works'),
    'test': ('test', [],
             'mmdet\'s own test, also without compiled ops'),
}
USAGE = '\n'.join([
    'usage: mmdet-diffmap COMMAND ...', '',
    *(f'  {name:13} {help}' for name, (*_, help) in COMMANDS.items()), '',
    'mmdet-diffmap COMMAND --help lists the arguments of a command.'
])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, with those that follow.

    Args:
        argv (Sequence[str], optional): The arguments; defaults to the
            program's.

    Returns:
        int: The exit status.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name in ('-h', '--help'):
        print(USAGE)
        return 0
    if name == '--version':
        print(__version__)
        return 0
    if name not in COMMANDS:
        print(f'{USAGE}\n\nerror: there is no command {name}',
              file=sys.stderr)
        return 2
    module, options, _ = COMMANDS[name]
    command = import_module(f'mmdet_diffmap.cli.{module}')
    status: int = command.main([*options, *arguments])
    return status


if __name__ == '__main__':
    sys.exit(main())
