# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The feature maps that are explained, by the path of their module."""
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .nested import map_tensors
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
            gets the maps of the backbone, ``neck`` means the backbone.

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

    @contextmanager
    def capture(self, recorder: Recorder) -> Iterator[CapturedLayer]:
        """Cut the graph at the module's outputs, and record what follows.

        Args:
            recorder (Recorder): Is told when the module has run.

        Yields:
            CapturedLayer: Fills with the outputs.
        """
        captured = CapturedLayer()
        seen = 0

        def replace(tensor: Tensor) -> Tensor:
            nonlocal seen
            seen += 1
            if self.index not in (None, seen - 1):
                return tensor
            leaf = tensor.detach().requires_grad_()
            captured.leaves.append(leaf)
            captured.handed.append(leaf.clone())  # may be changed in place
            return captured.handed[-1]

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            recorder.target_layer_ran()
            return map_tensors(replace, output)

        handle = self.module.register_forward_hook(hook)
        try:
            yield captured
        finally:
            handle.remove()

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
                'of shape (1, channels, height, width)')
        if not depend(results, features):
            if place := lost():
                raise RuntimeError('the detector loses the gradient of its '
                                   f'predictions: {place}; use D-RISE, which '
                                   'needs no gradient')
            raise ValueError('no detection depends on target layer '
                             f'{self.name!r}')


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
