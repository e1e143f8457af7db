"""What tests of heads on levels share."""
import pytest
import torch


@pytest.fixture(scope='module')
def double_precision():
    """Rounding differs between processors. Many heads cast their boxes to
    single precision; here they do not."""
    single = torch.Tensor.float
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.Tensor, 'float', lambda tensor: tensor
            if tensor.dtype == torch.double else single(tensor))
        yield
