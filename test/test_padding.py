"""Our reflection padding against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from defeat_ros.networks.padding import ReflectPad


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_gradients_and_layout_are_those_of_torch(width, layout):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    ours, theirs = ReflectPad(width)(x), F.pad(x, (width,) * 4, mode="reflect")
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    (mine,) = torch.autograd.grad((ours * weights).sum(), x)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), x)
    torch.testing.assert_close(mine, expected)
    assert ours.is_contiguous(memory_format=layout) and mine.is_contiguous(memory_format=layout)


def test_gradient_is_exact():
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ReflectPad(2), (x,))


def test_smallest_image_that_reflects():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert torch.equal(ReflectPad(2)(x), F.pad(x, (2,) * 4, mode="reflect"))
    with pytest.raises(RuntimeError, match="padding is 3"):
        ReflectPad(3)(x)


def test_exporters_see_the_operator():
    program = torch.export.export(ReflectPad(1), (torch.rand(1, 3, 8, 8),))
    assert "reflection_pad2d" in str(program.graph) or "pad" in str(program.graph)
