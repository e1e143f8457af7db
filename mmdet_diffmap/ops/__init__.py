# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Stand-ins for mmcv's compiled ops, for installations without a compiler.

mmdet imports ``mmcv.ops``, which loads the extension module ``mmcv._ext``. The
wheel ``mmcv-lite`` does not carry that module, nor does an ``onedl-mmcv`` that
pip built. :func:`install_standins` puts a module in its place whose operations
are torchvision's or made of torch's; every other op can be imported, and says
what to install when it is called. Nothing happens where a compiled mmcv is
installed.
"""
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..host import require_host
from .attention import ms_deform_attn_backward, ms_deform_attn_forward
from .convolution import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    masked_col2im_forward,
    masked_im2col_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .losses import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from .missing import missing_op
from .pooling import (
    roi_align_backward,
    roi_align_forward,
    roi_pool_backward,
    roi_pool_forward,
)
from .suppression import nms, softnms
from .upsampling import carafe_backward, carafe_forward

__all__ = ['install_standins']

EXTENSION = 'mmcv._ext'
STAND_INS = (
    carafe_backward, carafe_forward, deform_conv_backward_input,
    deform_conv_backward_parameters, deform_conv_forward,
    masked_col2im_forward, masked_im2col_forward,
    modulated_deform_conv_backward, modulated_deform_conv_forward,
    ms_deform_attn_backward, ms_deform_attn_forward, nms, roi_align_backward,
    roi_align_forward, roi_pool_backward, roi_pool_forward,
    sigmoid_focal_loss_backward, sigmoid_focal_loss_forward, softnms)


class StandIns(ModuleType):
    """The module that takes the place of ``mmcv._ext``."""

    def __init__(self) -> None:
        super().__init__(EXTENSION, __doc__)
        # importlib.util.find_spec refuses a loaded module without a spec
        self.__spec__ = ModuleSpec(EXTENSION, loader=None)
        vars(self).update({op.__name__: op for op in STAND_INS})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)
        return missing_op(name)


def install_standins() -> bool:
    """Make ``mmcv.ops`` importable where mmcv has no compiled ops.

    Returns:
        bool: Whether the stand-ins are in use; False where a compiled mmcv
        is installed, which is left untouched.

    Raises:
        NoHostError: If there is no mmcv at all, or no mmdet or mmengine.
    """
    require_host()
    if importlib.util.find_spec(EXTENSION) is None:
        sys.modules[EXTENSION] = StandIns()
    return isinstance(sys.modules.get(EXTENSION), StandIns)
