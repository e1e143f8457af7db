# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The commands, one module each."""
