# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Checks and measurements of the package itself, and of whole detectors."""
