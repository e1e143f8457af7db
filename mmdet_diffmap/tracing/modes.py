# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Modes of a model's modules and parameters, for the time of a context."""
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; each module gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:  # backbones freeze parameters in eval()
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter of a model require a gradient in this context."""
    trained = [parameter for parameter in model.parameters()
               if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad = False
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True
