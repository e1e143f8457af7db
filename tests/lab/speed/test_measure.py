import math

import numpy as np
import pytest
import torch
from families import random_detector, random_image

from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.lab.speed import Bench, input_batch, random_boxes
from mmdet_diffmap.tracing.measuring import peak_memory


def test_figures_of_one_detector():
    model = random_detector('yolox')
    bench = Bench(model, input_batch(random_image(60, 100), (96, 160)),
                  random_boxes(4), repeat=1, naive_objects=2)
    two, four = bench.measure(build_explainer('odam'), [2, 4])
    for speed in (two, four):
        assert min(speed.forward, speed.trace, speed.explain,
                   speed.naive) > 0
        assert speed.difference < 1e-5
        assert len(speed.differences) == speed.naive_objects == 2
        assert speed.difference == max(speed.differences)
        assert speed.against_naive == speed.naive / speed.explain
        assert speed.against_forward == speed.explain / speed.forward
        weights = sum(p.nbytes for p in model.parameters())
        assert speed.memory > weights and speed.forward_memory > weights
    assert four.naive == 2 * two.naive  # scaled up
    assert four.as_dict()['against_naive'] == four.against_naive


def test_without_the_naive_loop():
    bench = Bench(random_detector('yolox'),
                  input_batch(random_image(60, 100), (96, 160)),
                  random_boxes(2), repeat=1, naive_objects=0)
    (speed, ) = bench.measure(build_explainer('odam'), [2])
    assert math.isnan(speed.naive) and math.isnan(speed.difference)
    assert math.isnan(speed.against_naive)


def test_input_is_of_the_size_that_is_asked_for():
    data = input_batch(np.zeros((30, 40, 3), np.uint8), (90, 80))
    assert data['inputs'][0].shape == (3, 90, 80)
    sample = data['data_samples'][0]
    assert sample.ori_shape == (30, 40)
    assert sample.scale_factor == (2, 3)


def test_peak_memory_follows_what_lives_at_one_time():
    megabyte = 2**18  # values
    with peak_memory(torch.device('cpu')) as peak:
        first = torch.zeros(megabyte)
        first = first + 1  # two at a time
        del first
        for _ in range(10):
            torch.zeros(megabyte)
        _ = torch.zeros(2, megabyte)[0].view(2, -1)  # no memory of their own
    assert 2 * 4 * megabyte <= peak.bytes < 2.1 * 4 * megabyte


@pytest.mark.parametrize('inplace', [True, False])
def test_peak_memory_in_a_backward_pass(inplace):
    x = torch.zeros(2**18, requires_grad=True)
    y = torch.nn.functional.relu(x * 2, inplace=inplace).sum()
    with peak_memory(torch.device('cpu')) as peak:
        torch.autograd.grad(y, x)
    assert 4 * 2**18 <= peak.bytes <= 3.1 * 4 * 2**18
