"""Detectors of MMYOLO, which needs an environment of its own: `make
test-mmyolo`."""
import numpy as np
import pytest
import torch
from demo import ROOT
from families import random_image
from mmengine.config import Config

from mmdet_diffmap import explain
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.lab.zoo import check_config, zoo_configs
from mmdet_diffmap.lab.zoo.check import TOLERANCES
from mmdet_diffmap.lab.zoo.small import random_detector, shrink
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.filtering import Fate
from mmdet_diffmap.tracing.trace import OUTPUTS

pytest.importorskip(
    'mmyolo', reason='MMYOLO refuses the mmcv of the other tests: make '
    'test-mmyolo')
