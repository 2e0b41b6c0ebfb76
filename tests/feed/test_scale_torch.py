"""Predictions of PyTorch back in their units."""

import pytest

from nemesyst.feed.scaling import Scaler, Statistics

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("fields", "width"), [(("air",), 1), (("air", "power"), 2)])
def test_a_tensor_stays_one_with_its_dtype_and_gradient(fields, width):
    scaler = Scaler({"y": Statistics("standard", fields, (4.0, 100.0)[:width], (2.0, 50.0)[:width], 10)})
    ones = torch.ones((3, width), requires_grad=True)
    back = scaler.unscale(ones)
    assert back.dtype == torch.float32
    assert back.detach()[0].tolist() == [6.0, 150.0][:width]
    back.sum().backward()
    assert ones.grad[0].tolist() == [2.0, 50.0][:width]
    assert scaler.unscale(ones.detach().bfloat16()).dtype == torch.float32
