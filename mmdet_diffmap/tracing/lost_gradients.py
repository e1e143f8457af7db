# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Where a detector loses the gradient of its predictions."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from .nested import flat_tensors
from .swapping import swapped

#: What takes a tensor's shape or type and not its values.
LIKE = ('empty', 'zeros', 'ones', 'full', 'rand', 'new_', 'arange')
#: What takes those of a second tensor.
LIKE_ANOTHER = ('to', 'type_as', 'view_as', 'reshape_as', 'expand_as')
HERE = Path(__file__).parents[1]
HOST = ('torch', 'mmcv')  # packages whose lines tell nothing of a detector


class LossFinder(TorchFunctionMode):
    """Notes where values that depend on the target layer lose their gradient.

    Put around a run of a detector in which the target layer's maps alone
    require gradients. A tensor that some function made of one with a
    gradient, and that has none, has lost it there; what is made of that has
    lost it at the same place.

    Args:
        model (nn.Module): The detector, for the names of its modules.
        proposer (nn.Module, optional): What its ``predict`` gives is constant
            and has lost nothing.
    """

    def __init__(self,
                 model: nn.Module,
                 proposer: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        self.proposer: Any = proposer
        self.proposing = False
        self.running: list[str] = []  # paths of modules, the innermost last
        # tensors are kept, so that no other gets their identity
        self.lost: dict[int, tuple[Tensor, str]] = {}
        self.left = ''  # where values have left torch

    def __torch_function__(self,
                           function: Callable,
                           types: Sequence[type],
                           args: tuple = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = getattr(function, '__name__', '')
        if name == '__get__':  # of a property such as data
            name = (resolve_name(function) or '').split('.')[-2]
        if self.proposing or name.startswith(LIKE):
            return result
        given = flat_tensors(args[:1] if name in LIKE_ANOTHER else
                             [args, kwargs])
        places = [self.lost[id(tensor)][1] for tensor in given
                  if id(tensor) in self.lost]
        live = any(tensor.requires_grad for tensor in given)
        if name in ('numpy', '__array__', 'tolist', 'item'):
            if places or live:
                self.left = self.left or (places or [self._here(name)])[0]
            return result
        for tensor in flat_tensors([result]):
            # what has a gradient from elsewhere may have lost a part of it
            if places:
                self.lost[id(tensor)] = tensor, places[0]
            elif live and not tensor.requires_grad:
                self.lost[id(tensor)] = tensor, self._here(name)
        return result

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch in this context."""

        def hook_module(path: str, module: nn.Module) -> None:

            def before(module: nn.Module, args: Any) -> None:
                self.running.append(f'{path} ({type(module).__name__})')

            def after(module: nn.Module, args: Any, output: Any) -> None:
                self.running.pop()

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(
                module.register_forward_hook(after, always_call=True).remove)

        def propose(*args: Any, **kwargs: Any) -> Any:
            self.proposing = True
            proposals = predict(*args, **kwargs)
            self.proposing = False
            return proposals

        with ExitStack() as stack:
            if self.proposer is not None:
                predict = self.proposer.predict
                stack.enter_context(swapped(self.proposer, 'predict', propose))
            for path, module in self.model.named_modules():
                hook_module(path or 'the detector', module)
            with self:
                yield

    def place(self, tensor: Tensor) -> str:
        """Say where a tensor without a gradient has lost it, for the end of a
        sentence; empty if it never had one."""
        if id(tensor) in self.lost:
            return self.lost[id(tensor)][1]
        return self.left

    def _here(self, name: str) -> str:
        """Name a function, and the line and module that called it."""
        frame = sys._getframe(1)
        while frame.f_back is not None and tells_nothing(
                frame.f_code.co_filename):
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        code = frame.f_code
        where = f'{name} in {code.co_name} ({file.name}:{frame.f_lineno})'
        grad = '' if torch.is_grad_enabled() else ', under no_grad'
        module = self.running[-1] if self.running else owner(frame, self.model)
        return f'{where}{grad}, of {module}' if module else f'{where}{grad}'


def tells_nothing(file: str) -> bool:
    """Whether a line of code is torch's, mmcv's or this package's own."""
    path = Path(file)
    return path.is_relative_to(HERE) or any(
        f'site-packages/{package}/' in path.as_posix() for package in HOST)


def owner(frame: Any, model: nn.Module) -> str:
    """Name the module whose method a frame runs, or one that called it."""
    names = {id(module): path for path, module in model.named_modules()}
    while frame is not None:
        module = frame.f_locals.get('self')
        if isinstance(module, nn.Module) and id(module) in names:
            path = names[id(module)] or 'the detector'
            return f'{path} ({type(module).__name__})'
        frame = frame.f_back
    return ''
