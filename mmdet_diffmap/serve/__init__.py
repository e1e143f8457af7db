# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The page as a service: photographs are dropped into it and explained."""
