import pytest
import torch
from torch import nn

from mmdet_diffmap.tracing.gradients import products
from mmdet_diffmap.tracing.gradients.products import Measured, Products


class Doubled(torch.autograd.Function):
    """An operation that cannot be batched."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(gradient.numpy() * 2)


@pytest.fixture
def graph():
    torch.manual_seed(0)
    features = [torch.randn(1, 3, 5, 6).requires_grad_() for _ in range(2)]
    conv = nn.Conv2d(3, 4, 3, padding=1)
    raw = [conv(features[0]).tanh(), features[0].mean(dim=1)]
    cotangents = [[torch.randn_like(one) for one in raw] for _ in range(23)]
    return conv, raw, features, cotangents


def expected(graph):
    _, raw, features, cotangents = graph
    return [torch.autograd.grad(raw, features[0], cotangent,
                                retain_graph=True)[0]
            for cotangent in cotangents]


def run(graph):
    head, raw, features, cotangents = graph
    found = list(Products(head, raw, features)(iter(cotangents),
                                               len(cotangents)))
    assert all(second is None for _, second in found)
    return torch.cat([first for first, _ in found])


@pytest.mark.parametrize('measured', [
    None,  # it is measured
    Measured(batched=False, memory=10**4),
    Measured(batched=True, memory=10**4),
    Measured(batched=True, memory=products.MEMORY_BUDGET / 5.01 / 180),
    Measured(batched=True, memory=products.MEMORY_BUDGET * 3)])
def test_loop_and_batches_of_any_size_agree(graph, measured):
    if measured is not None:
        products.measurements[graph[0]] = {torch.device('cpu'): measured}
    torch.testing.assert_close(run(graph), torch.cat(expected(graph)))
    if measured is None:
        found = products.measurements[graph[0]][torch.device('cpu')]
        assert found.memory >= graph[2][0].nbytes / 180


def test_batches_keep_to_the_budget(graph, monkeypatch):
    sizes = []
    batched = Products.batched

    def counted(self, cotangents):
        sizes.append(len(cotangents))
        return batched(self, cotangents)

    monkeypatch.setattr(Products, 'batched', counted)
    memory = products.MEMORY_BUDGET / 5.01 / 180  # for each of the 180 values
    products.measurements[graph[0]] = {
        torch.device('cpu'): Measured(True, memory)}
    run(graph)
    assert sizes == [5, 5, 5, 5, 3]


def test_measured_once(graph, monkeypatch):
    run(graph)
    monkeypatch.setattr(Products, '_measure', None)  # would fail
    run(graph)


def test_few_products_are_not_worth_a_measurement(graph, monkeypatch):
    monkeypatch.setattr(Products, '_measure', None)
    head, raw, features, cotangents = graph
    assert len(list(Products(head, raw, features)(iter(cotangents[:8]),
                                                  8))) == 8


def test_head_that_cannot_be_batched(graph):
    head, raw, features, cotangents = graph
    raw = [Doubled.apply(raw[0]), raw[1]]
    graph = head, raw, features, cotangents
    torch.testing.assert_close(run(graph), torch.cat(expected(graph)))
    assert not products.measurements[head][torch.device('cpu')].batched


def test_operation_that_only_some_raw_maps_need(graph):
    """Batches were found faster for another kind of output."""
    head, raw, features, cotangents = graph
    products.measurements[head] = {torch.device('cpu'): Measured(True, 1)}
    graph = head, [Doubled.apply(raw[0]), raw[1]], features, cotangents
    torch.testing.assert_close(run(graph), torch.cat(expected(graph)))
    assert not products.measurements[head][torch.device('cpu')].batched
