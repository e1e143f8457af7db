# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How much an object looks as it did in the frame before: what a tracker
with embeddings sees, and its gradients."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.tracking_heads import QuasiDenseTrackHead, RoITrackHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..maps.image_frame import ImageFrame
from .gradients import DenseGradients
from .modes import evaluation_mode
from .nested import all_tensors
from .recording import Recorder
from .target_layer import TargetLayer
from .trace import (
    GradientSource,
    NetworkInput,
    OutputGradients,
    Tolerance,
    Trace,
    no_gradients,
)
from .turns import one_at_a_time


def asks_for_similarity(outputs: Sequence[str]) -> bool:
    """Whether the similarity is among some outputs."""
    return any(output.removeprefix('-') == 'similarity' for output in outputs)


@dataclass(frozen=True)
class WithSimilarity:
    """Gradients of a detector's outputs, and of similarities, which do not
    depend on the head's raw maps.

    Args:
        others (GradientSource): Those of all that is made of the raw maps.
        similarity (DenseGradients): Those of all that is made of similarities.
    """
    others: GradientSource
    similarity: DenseGradients

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        own = [column for column in columns
               if self._is_own(outputs[:, column])]
        others = [column for column in columns if column not in own]
        if others:
            yield from self.others(outputs, others, tolerance)
        if own and self.similarity.raw[0].requires_grad:
            yield from self.similarity(outputs, own)

    def _is_own(self, values: Tensor) -> bool:
        """Whether numbers are made of similarities."""
        if not values.requires_grad:
            return False
        (gradient, ) = torch.autograd.grad(
            values.sum(), self.similarity.cut, retain_graph=True,
            allow_unused=True)
        return gradient is not None and bool(gradient.any())


def cosines(embeddings: Tensor, before: Sequence[Tensor | None]) -> Tensor:
    """Compute the cosine of the angle between embeddings (N, C) and those
    before; 0, without a graph, where there is none.

    Lengths are constants: the cosine of what has not changed is at its
    maximum, where its whole gradient is zero and would explain nothing.
    """
    values = embeddings.new_zeros(len(embeddings))
    known = [row for row, other in enumerate(before) if other is not None]
    if not known:
        return values.detach()
    others = torch.stack([other for other in before if other is not None])
    products = (embeddings[known] * others.to(embeddings)).sum(dim=1)
    with torch.no_grad():
        lengths = embeddings[known].norm(dim=1) * others.norm(dim=1).to(
            embeddings)
    return values.index_put(
        (torch.tensor(known, device=values.device), ), products / lengths)


def similarity_gradients(head: nn.Module, leaves: list[Tensor],
                         values: Tensor) -> DenseGradients:
    """Return the gradients of similarities by maps.

    Args:
        head (nn.Module): What makes embeddings of the maps.
        leaves (list[Tensor]): The maps, leaves of the graph.
        values (Tensor): The similarities, shape (N, ).

    Returns:
        DenseGradients: Its ``cut`` is what outputs are made of.
    """
    return DenseGradients(head, leaves, [values],
                          [values.detach().clone().requires_grad_()])


class RoIEmbedding:
    """Embeddings that are made of the detector's own features, pooled in each
    box: QDTrack, MaskTrack R-CNN.

    Args:
        head (nn.Module): The track head.
    """

    def __init__(self, head: Any) -> None:
        self.head = head

    @classmethod
    def of(cls, tracker: Any) -> RoIEmbedding | None:
        """Return the embedding of a tracker; None if it is none of this
        kind."""
        head = getattr(tracker, 'track_head', None)
        return cls(head) if isinstance(
            head, (QuasiDenseTrackHead, RoITrackHead)) else None

    def __call__(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Compute the embeddings of boxes.

        Args:
            features (Sequence[Tensor]): What the detector's heads get.
            boxes (Tensor): In pixels of the network's input, shape (N, 4).

        Returns:
            Tensor: Shape (N, C).
        """
        pooled = self.head.extract_roi_feats(features, [boxes])
        head = self.head.embed_head
        if isinstance(self.head, RoITrackHead):
            pooled, counts = pooled
            return head.extract_feat(pooled, counts)[0]
        return head.predict(pooled)


class CropEmbedding:
    """Embeddings that a network of its own makes of crops of the image:
    DeepSORT, StrongSORT.

    Args:
        network (nn.Module): The network for re-identification.

    Attributes:
        crops (Tensor): What it got last, shape (n, 3, h, w).
        embeddings (Tensor): What it made of that, shape (n, C).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.crops = torch.zeros(0)
        self.embeddings = torch.zeros(0)

    @classmethod
    def of(cls, tracker: Any) -> CropEmbedding | None:
        """Return the embedding of a tracker; None if it is none of this
        kind."""
        return cls(tracker.reid) if tracker.with_reid else None

    def listen(self) -> Any:
        """Note what the network gets and gives; ``remove`` of what is returned
        ends that."""
        self.crops = self.embeddings = torch.zeros(0)

        def note(module: nn.Module, args: Any, output: Tensor) -> None:
            self.crops, self.embeddings = args[0], output.clone()

        return self.network.register_forward_hook(note)

    def trace(self, crop: Tensor, before: Tensor, detection: InstanceData,
              outputs: Tensor, image_shape: tuple[int, int]) -> Trace:
        """Run the network on one crop, as on an image of its own.

        Args:
            crop (Tensor): Shape (1, 3, h, w).
            before (Tensor): The object's embedding in the frame before, shape
                (C, ).
            detection (InstanceData): The object.
            outputs (Tensor): Its outputs, shape (1, 5).
            image_shape (tuple): Height and width of its box in pixels of the
                original image.

        Returns:
            Trace: Of the object alone, whose similarity depends on the last
            feature maps of the network.
        """
        target = TargetLayer(self.network, self.last_maps(crop))
        network: Any = self.network
        with one_at_a_time(), Recorder().run() as recorder, \
                evaluation_mode(network), target.capture(recorder) as captured:
            embedding = network(crop.clone(), mode='tensor')
            gradients = similarity_gradients(
                network, captured.leaves, cosines(embedding, [before]))
        height, width = crop.shape[-2:]
        empty = crop.new_zeros(3, 1, 1)
        return Trace(
            detection, outputs.detach(),
            [leaf.detach()[0] for leaf in captured.leaves],
            ImageFrame((height, width), (height, width), image_shape),
            NetworkInput(crop[0], empty, empty, nothing, nothing),
            WithSimilarity(no_gradients, gradients),
            similarity=gradients.cut[0])

    def last_maps(self, crop: Tensor) -> str:
        """Return the path of the module that gives the last maps of more than
        one cell.

        Raises:
            ValueError: If there is none.
        """
        last: list[str] = []

        def note(name: str, output: Any) -> None:
            if any(value.dim() == 4 and value[0, 0].numel() > 1
                   for value in all_tensors(output)):
                last[:] = [name]

        hooks = [
            module.register_forward_hook(
                lambda module, args, output, name=name: note(name, output))
            for name, module in self.network.named_modules() if name]
        network: Any = self.network
        try:
            with torch.no_grad(), evaluation_mode(network):
                network(crop, mode='tensor')
        finally:
            for hook in hooks:
                hook.remove()
        if not last:
            raise ValueError(f'{type(network).__name__} makes its embeddings '
                             'without feature maps that could be explained')
        return last[0]


def nothing(images: Tensor) -> Any:
    """Raise an error in place of what a detector predicts for changed
    images."""
    raise RuntimeError('a network for re-identification detects nothing')


def embedding_of(tracker: Any) -> RoIEmbedding | CropEmbedding:
    """Return how a tracker makes embeddings.

    Raises:
        ValueError: If it makes none, or in a way that is not known.
    """
    embedding = RoIEmbedding.of(tracker) or CropEmbedding.of(tracker)
    if embedding is None:
        raise ValueError(
            f'{type(tracker).__name__} has no embeddings that are known, so '
            'that the output similarity cannot be explained: it follows '
            'objects by their boxes, or in a way of its own')
    return embedding

