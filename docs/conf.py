# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The settings of ``make docs``.

Sphinx's source folder is the repository and not docs/, so that a relative link
of a page means here what it means on GitHub, to the README, to pictures and to
source files too. The pages are those of ``include_patterns``.
"""
import os
import warnings
from pathlib import Path

import yaml

from mmdet_diffmap.version import __version__

# remarks of the host's packages about each other, also in the notebook
warnings.simplefilter('ignore')
os.environ['PYTHONWARNINGS'] = 'ignore'

project = 'mmdet_diffmap'
author = 'mmdet_diffmap authors'
copyright = f'{author}. Licensed under Apache-2.0'
release = __version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon',
              'sphinx_copybutton']
root_doc = 'docs/index'
include_patterns = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md',
                    'docs/*.md', 'docs/*.ipynb']
exclude_patterns = ['docs/_build']

# links to a page's headings, as GitHub names them
myst_heading_anchors = 4

# docs/notebook.ipynb runs anew in each build. Its outputs in the repository
# are those of: jupyter execute --inplace docs/notebook.ipynb
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 180

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # the docstrings have them
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False

highlight_language = 'text'  # of blocks that name none
# a session in Python is copied without its prompts and outputs
copybutton_prompt_text = '>>> |\\.\\.\\. '
copybutton_prompt_is_regexp = True
html_theme = 'furo'
html_title = f'{project} {release}'
html_extra_path = ['html_root']  # index.html, which leads to docs/index.html
html_show_sourcelink = False
# pages link to the repository once CITATION.cff says where it is
citation = yaml.safe_load(
    (Path(__file__).parents[1] / 'CITATION.cff').read_text())
html_theme_options = dict(
    source_repository=citation['repository-code'], source_branch='main',
    source_directory='') if 'repository-code' in citation else {}
html_copy_source = False
