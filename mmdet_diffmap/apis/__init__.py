# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .detector import build_detector, load_detector
from .explain import explain, explain_batch
from .images import find_images, read_image

__all__ = [
    'build_detector', 'explain', 'explain_batch', 'find_images',
    'load_detector', 'read_image'
]
