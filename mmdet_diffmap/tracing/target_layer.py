# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The feature maps that are explained, by the path of their module."""
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..maps.image_frame import Shape
from .nested import all_tensors, map_tensors
from .recording import Recorder

PATH = re.compile(r'(?P<path>[\w.]+)(\[(?P<index>\d+)\])?')


@dataclass
class CapturedLayer:
    """The outputs of the target layer in one run of the detector.

    Args:
        leaves (list[Tensor]): The maps ``A``, leaves of the graph, one a
            level and call.
        handed (list[Tensor]): Their copies that the detector went on with.
    """
    leaves: list[Tensor] = field(default_factory=list)
    handed: list[Tensor] = field(default_factory=list)

    def index_of(self, tensor: Tensor) -> int | None:
        """Return which of the maps a tensor of the detector is; None if it
        is none, or was changed in place."""
        for index, (leaf, handed) in enumerate(zip(self.leaves, self.handed)):
            if tensor is leaf or (tensor is handed and tensor._version == 0):
                return index
        return None


class TargetLayer:
    """A module whose outputs can be made leaves of the graph.

    Args:
        model (nn.Module): The detector.
        name (str): Path of the module from the model, such as ``neck``,
            ``backbone.layer4`` or ``neck.fpn_convs.0``. ``neck[0]`` takes the
            first of its maps alone. In a detector without a neck, whose head
            gets the maps of the backbone, ``neck`` means the backbone. The
            tokens of a transformer's ``encoder`` are laid out as the maps
            that they come from.

    Raises:
        ValueError: If the model has no such module.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        match = PATH.fullmatch(name)
        if match is None:
            raise ValueError(f'target layer {name!r} is no module path; write '
                             'it as neck, backbone.layer4 or neck[0]')
        self.name = name
        self.index = match['index'] and int(match['index'])
        path = match['path']
        if path == 'neck' and getattr(model, 'neck', None) is None:
            path = 'backbone'
        self.module = find_module(model, path)
        # tokens come from the last map of the neck
        self.maps_of_tokens: Any = getattr(model, 'neck', None) or getattr(
            model, 'backbone', self.module)

    @contextmanager
    def capture(self, recorder: Recorder) -> Iterator[CapturedLayer]:
        """Cut the graph at the module's outputs, and record what follows.

        Args:
            recorder (Recorder): Is told when the module has run.

        Yields:
            CapturedLayer: Fills with the outputs.
        """
        captured = CapturedLayer()

        def cut(tensor: Tensor) -> Tensor:
            leaf = tensor.detach().requires_grad_()
            captured.leaves.append(leaf)
            captured.handed.append(leaf.clone())  # may be changed in place
            return captured.handed[-1]

        with self.replacing(cut, recorder.target_layer_ran):
            yield captured

    @contextmanager
    def replacing(self, function: Callable[[Tensor], Tensor],
                  ran: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let the detector go on with other maps in this context.

        Args:
            function (Callable): A map (B, C, H, W) -> the one in its place.
                It is called with one map after the other, in their order.
            ran (Callable): Is called when the module has run.
        """
        seen = 0
        last_map: list[Shape] = []

        def replace(tensor: Tensor) -> Tensor:
            nonlocal seen
            seen += 1
            return tensor if self.index not in (None, seen - 1) else \
                function(tensor)

        def hook(module: nn.Module, args: Any, kwargs: Any,
                 output: Any) -> Any:
            ran()
            grids = grids_of(output, kwargs, last_map)
            if not grids:
                return map_tensors(replace, output)
            return torch.cat([
                replace(tokens.mT.unflatten(2, grid)).flatten(2).mT
                for tokens, grid in zip(
                    output.split([math.prod(grid) for grid in grids], dim=1),
                    grids)
            ], dim=1)

        def note(module: nn.Module, args: Any, output: Any) -> None:
            maps = [each for each in all_tensors(output) if each.dim() == 4]
            last_map[:] = [(each.shape[2], each.shape[3])
                           for each in maps[-1:]]

        with ExitStack() as stack:
            stack.callback(self.module.register_forward_hook(
                hook, with_kwargs=True).remove)
            if self.maps_of_tokens is not self.module:
                stack.callback(
                    self.maps_of_tokens.register_forward_hook(note).remove)
            yield

    def check(self, features: list[Tensor], results: list[Tensor],
              lost: Callable[[], str]) -> None:
        """Raise a ValueError unless ``features`` are maps (1, C, H, W) that
        some of ``results`` depend on; a RuntimeError if they do and ``lost``
        says where the gradient is lost."""
        shapes = [tuple(feature.shape) for feature in features]
        if not shapes:
            raise ValueError(f'target layer {self.name!r} has no such output, '
                             'or is not used when the detector predicts')
        if any(len(shape) != 4 or shape[0] != 1 for shape in shapes):
            raise ValueError(
                f'target layer {self.name!r} gives {shapes}, not feature maps '
                'of shape (1, channels, height, width), nor tokens of maps')
        if not depend(results, features):
            if place := lost():
                raise RuntimeError('the detector loses the gradient of its '
                                   f'predictions: {place}; use D-RISE, which '
                                   'needs no gradient')
            raise ValueError('no detection depends on target layer '
                             f'{self.name!r}')


def grids_of(output: Any, kwargs: Mapping[str, Any],
             last_map: Sequence[Shape]) -> list[Shape]:
    """Return the grids whose cells a module's output are, as tokens; none if
    it is something else.

    Args:
        output (Any): The output; tokens have shape (B, cells, channels).
        kwargs (Mapping): What the module got. Encoders of several levels get
            ``spatial_shapes``, the grids of all levels.
        last_map (Sequence): The grid of the neck's last map, if it has run:
            that of encoders of a single level.
    """
    if not isinstance(output, Tensor) or output.dim() != 3:
        return []
    given = kwargs.get('spatial_shapes')
    grids = list(last_map) if given is None else [
        (int(height), int(width)) for height, width in given.tolist()
    ]
    return grids if sum(map(math.prod, grids)) == output.shape[1] else []


def depend(results: list[Tensor], leaves: list[Tensor]) -> bool:
    """Whether the graph leads from some result to some leaf."""
    waiting = [result.grad_fn for result in results]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, 'variable', None)  # of a leaf's node
        if any(variable is leaf for leaf in leaves):
            return True
        waiting += [parent for parent, _ in node.next_functions]
    return False


def find_module(model: nn.Module, path: str) -> nn.Module:
    """Return the module at a path from the model.

    Raises:
        ValueError: If there is none; it says what stands there instead.
    """
    module = model
    parts = path.split('.')
    for depth, part in enumerate(parts):
        children = dict(module.named_children())
        if part not in children:
            parent = '.'.join(parts[:depth]) or type(model).__name__
            raise ValueError(
                f'target layer {path!r} does not exist: {parent} has '
                f'{", ".join(children) or "no modules inside"}')
        module = children[part]
    return module
