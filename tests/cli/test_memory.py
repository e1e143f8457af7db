"""Memory is measured in a process of its own."""
import subprocess
import sys

import pytest

CODE = '''
import re, sys
import cv2, numpy as np, torch
sys.path.insert(0, 'tests')
from demo import CONFIG, WEIGHTS
from mmdet_diffmap import load_detector
from mmdet_diffmap.apis import explain
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets import render_scene

model = load_detector(CONFIG, WEIGHTS, 'cpu', {
    'model.test_cfg.score_thr': 0.0, 'model.test_cfg.max_per_img': 100,
    'test_dataloader.dataset.pipeline.1': dict(
        type='Resize', scale=(1333, 800), keep_ratio=False)})
scenes = [render_scene(0, i).image for i in range(12)]
image = np.vstack([np.hstack(scenes[i:i + 4]) for i in (0, 4, 8)])
image = cv2.resize(image, (640, 480))
data = image_pipeline(model)(image).batch
assert data['inputs'][0].shape == (3, 800, 1333)


def peak():
    # getrusage would begin with the parent's peak
    status = open('/proc/self/status').read()
    return int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) * 1024


with torch.no_grad():
    model.test_step(data)
forward = peak()
(sample, ) = explain(model, data, 'odam', score_thr=0)
assert len(sample.pred_instances) == 100
assert sample.pred_instances.heatmaps.shape == (100, 480, 640)
print(peak() - forward)
'''


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith('linux'), reason='reads /proc')
def test_a_hundred_objects_take_less_than_two_gigabytes():
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    above = int(result.stdout.splitlines()[-1])
    assert above < 2e9
