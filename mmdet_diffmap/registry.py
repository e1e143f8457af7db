# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The registries of explanation methods, of outputs by name, and of runs of
heads.

They have mmdet's scope: a registry with a scope of its own warns whenever it
builds under mmdet's ``default_scope``.
"""
from mmengine.registry import FUNCTIONS, Registry

EXPLAINERS = Registry(
    'explainer', scope='mmdet', locations=['mmdet_diffmap.explainers'])
#: Numbers that can be explained; see
#: :mod:`mmdet_diffmap.tracing.named_outputs`.
NAMED_OUTPUTS = Registry(
    'named output', scope='mmdet',
    locations=['mmdet_diffmap.tracing.named_outputs'])
#: Ways to treat a head in one run of a detector; see
#: :class:`~mmdet_diffmap.tracing.heads.HeadRun`.
HEAD_RUNS = Registry(
    'head run', scope='mmdet', locations=['mmdet_diffmap.tracing.heads'])

# mmdet 3.3.0 has none, and mmengine warns whenever it is looked for
if 'mmdet' not in FUNCTIONS.children:
    Registry('function', parent=FUNCTIONS, scope='mmdet')
