"""Threads that explain take turns: what a run swaps and hooks, all see."""
import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from demo import SCENE, demo_detector
from torch.overrides import _get_current_function_mode_stack

from mmdet_diffmap import explain
from mmdet_diffmap.tracing.turns import one_at_a_time

METHODS = ('odam', 'grad-cam', 'odam', dict(
    type='DRISE', masks=6, progress=False))


def explain_in_threads(models):
    """Explain in a thread for each model and method, three times each."""

    def work(job):
        model, method = job
        maps = [explain(model, SCENE, method, max_objects=3)
                .pred_instances.heatmaps for _ in range(3)]
        return (maps, _get_current_function_mode_stack(),
                torch.is_grad_enabled())

    jobs = list(zip(models, METHODS))
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(work, jobs))


@pytest.mark.parametrize('several', [False, True], ids=['one', 'several'])
def test_maps_are_those_of_a_thread_alone(several):
    model = demo_detector()
    models = [copy.deepcopy(model) if several else model for _ in METHODS]
    expected = [explain(model, SCENE, method, max_objects=3)
                .pred_instances.heatmaps for method in METHODS]
    for (maps, modes, grad), right in zip(explain_in_threads(models),
                                          expected):
        assert all(torch.equal(found, right) for found in maps)
        assert not modes
        assert grad
    assert not any(module._forward_hooks or module._forward_pre_hooks
                   for used in models for module in used.modules())


def test_a_thread_that_fails_lets_the_others_go_on():
    with pytest.raises(RuntimeError, match='planted'), one_at_a_time():
        raise RuntimeError('planted')
    with ThreadPoolExecutor(1) as pool:
        sample = pool.submit(explain, demo_detector(), SCENE).result(60)
    assert len(sample.pred_instances) >= 4
