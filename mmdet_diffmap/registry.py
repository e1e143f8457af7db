# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The registry of explanation methods.

It has mmdet's scope: a registry with a scope of its own warns whenever it
builds under mmdet's ``default_scope``.
"""
from mmengine.registry import Registry

EXPLAINERS = Registry(
    'explainer', scope='mmdet', locations=['mmdet_diffmap.explainers'])
