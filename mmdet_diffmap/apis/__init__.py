# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .compare_files import compare_files
from .detector import build_detector, class_names, load_detector
from .explain import explain, explain_batch, explain_each
from .explain_files import explain_files
from .images import find_images, read_image

__all__ = [
    'build_detector', 'class_names', 'compare_files', 'explain',
    'explain_batch', 'explain_each', 'explain_files', 'find_images',
    'load_detector', 'read_image'
]
