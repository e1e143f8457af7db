# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Whether explanations depend on what a detector has learned."""
from .check import Checked, check_sanity

__all__ = ['Checked', 'check_sanity']
