# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .explain_hook import ExplainHook

__all__ = ['ExplainHook']
