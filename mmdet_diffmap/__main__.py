# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""``mmdet-diffmap``, which runs the tools wherever the package is installed.

``mmdet-diffmap explain …`` is ``python tools/explain.py …``.
"""
import runpy
import sys

from .io.package_files import TOOLS
from .version import __version__

#: For each command its tool, options that go before the user's, and what it
#: does.
COMMANDS = {
    'explain': ('explain.py', [],
                'heat maps and difference maps of all objects in images'),
    'report': ('explain.py', ['--report'],
               'the same, and a page that shows them interactively'),
    'benchmark': ('benchmark_del_ins.py', [],
                  'Deletion and Insertion over a data set'),
    'sanity-check': ('sanity_check.py', [],
                     'whether maps depend on what the detector learned'),
    'check-zoo': ('check_zoo.py', [],
                  'whether a detector can be explained'),
    'test': ('test.py', [],
             'mmdet\'s own test, also without compiled ops'),
}
USAGE = '\n'.join([
    'usage: mmdet-diffmap COMMAND ...', '',
    *(f'  {name:13} {help}' for name, (*_, help) in COMMANDS.items()), '',
    'mmdet-diffmap COMMAND --help lists the arguments of a command.'
])


def main() -> None:
    """Run the command that the arguments name, with those that follow."""
    name, arguments = (sys.argv[1:] or ['--help'])[0], sys.argv[2:]
    if name in ('-h', '--help'):
        print(USAGE)
        return
    if name == '--version':
        print(__version__)
        return
    if name not in COMMANDS:
        print(f'{USAGE}\n\nerror: there is no command {name}', file=sys.stderr)
        sys.exit(2)
    tool, options, _ = COMMANDS[name]
    program = runpy.run_path(str(TOOLS / tool))
    sys.argv = [f'mmdet-diffmap {name}', *options, *arguments]
    sys.exit(program['main']())


if __name__ == '__main__':
    main()
