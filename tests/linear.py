"""A detector that is one linear map, so that gradients are known."""
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.tracing.gradients import DenseGradients
from mmdet_diffmap.tracing.trace import NetworkInput, Trace


def linear_trace(gradient: Tensor, feature: Tensor) -> Trace:
    """One detection with outputs ``Σ g A``.

    Args:
        gradient: Shape (5, C, h, w), for each output.
        feature: Shape (C, h, w), of the image's size.
    """
    leaf = feature[None].clone().requires_grad_()
    raw = (gradient * leaf).sum(dim=(1, 2, 3))[None]
    cut = raw.detach().requires_grad_()
    size = tuple(feature.shape[1:])
    return Trace(
        InstanceData(scores=torch.ones(1)), cut.clone(), [feature],
        ImageFrame(size, size, size), no_input(),
        DenseGradients(nn.Identity(), [leaf], [raw], [cut]))


def no_input() -> NetworkInput:
    """The input of a trace whose detector is not run again."""
    nothing = torch.zeros(3, 1, 1)
    return NetworkInput(nothing, nothing, nothing, lambda images: [],
                        lambda images: [])
