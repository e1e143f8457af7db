"""Errors for tests of their page: an object is found by a detection of another
class, and one is missed."""
from dataclasses import replace

import cv2
from demo import demo_detector

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.report import (
    ErrorEntry,
    ErrorPhoto,
    Finding,
    MapsOfDetector,
    View,
)
from mmdet_diffmap.tracing.detector import DetectorAdapter

HOSTILE = '<img src=x onerror=document.hacked=1>&"\'.png'
CLASSES = [f'<b>{i}</b></script><script>document.hacked=1</script>'
           for i in range(3)]
KIND = '<u>wrong</u> class'
REASON = '<s>taken</s> for background'
LAYERS = 'neck', 'backbone'
DETECTORS = ['<i>first</i>', 'second']
VIEWS = [
    View('why 1 and not 0', 'signed', 1, above='<i>up</i>', below='down'),
    View('1 against 0', 'difference', 1, 0, above='1 only', below='0 only'),
    View('what 1 is made of', 'heat', 1),
]
FAR = [0., 0., 4., 4.]


def traced(folder, name, layer):
    """What an image's first two detections are, and their maps."""
    model = demo_detector()
    batch = image_pipeline(model)(str(folder / name)).batch
    trace = DetectorAdapter(model, layer).trace(batch).select([0, 1])
    explainer = ODAM(target_layer=layer)
    maps = explainer.maps(trace, by_output=True)
    return trace.detections.bboxes.tolist(), MapsOfDetector(
        maps.heatmaps, maps.grids['all'], explainer.weigh(trace), trace.frame)


def entries(boxes):
    """An error with all kinds of views, and one that is about nothing."""
    both = [Finding('found, 0.83', boxes[1], boxes[0], VIEWS)] * 2
    nothing = [Finding('missed: no box there', None, None, [])] * 2
    return [
        ErrorEntry(KIND, '', CLASSES[0], CLASSES[1], 0.8, 0.7, 0.1, boxes[0],
                   both),
        ErrorEntry('missed', REASON, CLASSES[0], '', None, 0., 2., FAR,
                   nothing),
    ]


def photo(folder, name, boxes, maps, errors):
    """An image on which an object is found by a detection of another class,
    and one is missed."""
    return ErrorPhoto(
        name, cv2.imread(str(folder / name)),
        [[(boxes[0], CLASSES[0], 'found'),
          (FAR, CLASSES[0], 'missed')]] * len(maps),
        [[(boxes[0], CLASSES[0], 0.9, 'right'),
          (boxes[1], CLASSES[1], 0.8, 'wrong')], []][:len(maps)],
        errors, maps)


def for_detectors(error, count):
    by = '' if count == 1 else f'<u>{error.kind}</u> only'
    return replace(error, findings=error.findings[:count], by=by)
