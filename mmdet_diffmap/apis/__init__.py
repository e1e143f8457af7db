# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .compare_files import compare_files
from .detector import build_detector, class_names, load_detector
from .explain import explain, explain_batch, explain_each
from .explain_files import explain_files
from .images import find_images, read_image
from .inferencer import DiffMapInferencer
from .video import explain_video, is_video

__all__ = [
    'DiffMapInferencer', 'build_detector', 'class_names', 'compare_files',
    'explain', 'explain_batch', 'explain_each', 'explain_files',
    'explain_video', 'find_images', 'is_video', 'load_detector', 'read_image'
]
