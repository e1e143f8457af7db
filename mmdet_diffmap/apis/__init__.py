# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What users call: explaining images, files and videos, and loading a
detector."""
from ..io.images import find_images, read_image
from .coco_json import CocoWriter
from .compare_files import compare_files
from .explain import explain, explain_phrases
from .explain_files import explain_files
from .explain_pair import explain_pair, pair_files
from .fiftyone_writer import FiftyOneWriter
from .inferencer import DiffMapInferencer
from .loading import build_detector, class_names, load_detector
from .prompt import Prompt
from .result_writers import (
    ExplainedImage,
    MapWriter,
    PictureWriter,
    ReportWriter,
    ResultWriter,
    Run,
)
from .video import explain_video, is_video

__all__ = [
    'CocoWriter', 'DiffMapInferencer', 'ExplainedImage', 'FiftyOneWriter',
    'MapWriter', 'PictureWriter', 'Prompt', 'ReportWriter', 'ResultWriter',
    'Run', 'build_detector', 'class_names', 'compare_files', 'explain',
    'explain_files', 'explain_pair', 'explain_phrases', 'explain_video',
    'find_images', 'is_video', 'load_detector', 'pair_files', 'read_image'
]
