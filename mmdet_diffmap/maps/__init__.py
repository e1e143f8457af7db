# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Maps and what is made of them: pure torch, which knows no detector."""
