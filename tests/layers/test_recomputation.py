"""Tests that activation checkpointing that may not see the frame of the forward pass is refused, and nothing else."""

import contextlib

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv2d,
    CoordConvTranspose2d,
    FourierFeatures,
    TiledCoordConv2d,
    coordinate_field,
    coordinate_frame,
    from_coordconv,
    to_coordconv,
)

FRAMES = {
    "frame": lambda: coordinate_frame((8, 8), (32, 32), crop=(8, 8)),
    "field": lambda: coordinate_field(torch.rand(2, 8, 8)),
}
LAYERS = {
    "plain": lambda: CoordConv2d(2, 2, 3, padding=1),
    "taps": lambda: CoordConv2d(2, 2048, 5, padding=2),
    "encoding": lambda: CoordConv2d(2, 2, 3, padding=1, encoding=FourierFeatures(2)),
    "transposed": lambda: CoordConvTranspose2d(2, 2, 2, stride=2),
    "concatenation": lambda: nn.Sequential(AddCoords(), nn.Conv2d(4, 2, 1)),
    "tiled": lambda: TiledCoordConv2d(2, 2, 8),
}


def run(layer, **options):
    """Return the loss of a layer in a checkpoint."""
    x = torch.rand(1, 2, requires_grad=True)
    x = x if isinstance(layer, TiledCoordConv2d) else x[:, :, None, None].expand(1, 2, 8, 8)
    return checkpoint(layer, x, **options).square().sum()


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
class TestRefused:
    @pytest.mark.parametrize("reentrant", [False, True])
    def test_a_second_run_without_the_frame(self, make, frame, reentrant):
        layer = make()
        with frame():
            loss = run(layer, use_reentrant=reentrant)
        with pytest.raises(RuntimeError, match=r"without the coordinate_frame .* context_fn .* checkpointing off"):
            loss.backward()
        with pytest.raises(RuntimeError, match="without the coordinate_frame"):  # which of its runs it is, nothing says
            run(layer, use_reentrant=reentrant).backward()

    @pytest.mark.parametrize("reentrant", [False, True])
    @pytest.mark.parametrize("records", [False, True])
    def test_a_second_run_without_the_frame_after_a_run_without_one(self, make, frame, reentrant, records):
        """As of a crop and its full image in one step, which may be a target without gradients."""
        layer = make()
        with frame():
            loss = run(layer, use_reentrant=reentrant)
        with torch.set_grad_enabled(records):
            whole = run(layer.train(records), use_reentrant=reentrant)
        layer.train()
        with pytest.raises(RuntimeError, match="without the coordinate_frame"):
            (loss + whole).backward()

    def test_not_a_second_run_without_a_frame_after_an_evaluation_in_frames(self, make, frame):
        layer = make().eval()
        with torch.no_grad(), frame():
            run(layer, use_reentrant=False)
        for module in layer.modules():
            module.training = True  # as Lightning's Trainer does
        run(layer, use_reentrant=False).backward()

    @pytest.mark.parametrize("reentrant", [False, True])
    @pytest.mark.parametrize("first", [*FRAMES.values(), contextlib.nullcontext], ids=[*FRAMES, "none"])
    def test_a_second_run_inside_a_block_around_the_backward_pass(self, make, frame, first, reentrant):
        layer = make()
        with first():
            loss = run(layer, use_reentrant=reentrant)
        with frame():
            loss = loss + run(layer, use_reentrant=reentrant)
            with pytest.raises(RuntimeError, match=r"that was entered before, .* another: pass the block of the first"):
                loss.backward()
            run(layer, use_reentrant=reentrant)

    def test_not_a_second_run_inside_the_frame(self, make, frame):
        layer, block = make(), frame()
        with block:
            loss = run(layer, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), block))
        loss.backward()
        assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("inside", [False, True])
def test_two_crops_are_run_again_each_in_its_block(inside):
    """Also if the pass is called inside a block; the expected gradients are those without checkpointing."""
    torch.manual_seed(0)
    layer, crops = CoordConv2d(2, 4, 1), torch.randn(2, 1, 2, 8, 8)

    def frame(number):
        return coordinate_frame((8 * number, 8 * number), (16, 16), crop=(8, 8))

    def again(number, crop):
        contexts = (contextlib.nullcontext(), frame(number))
        return checkpoint(layer, crop, use_reentrant=False, context_fn=lambda: contexts)

    found = []
    for call in (lambda number, crop: layer(crop), again):
        layer.zero_grad()
        losses = []
        for number, crop in enumerate(crops):
            with frame(number):
                losses.append(call(number, crop).square().mean())
        with frame(1) if inside else contextlib.nullcontext():
            sum(losses).backward()
        found.append(layer.coord_weight.grad.clone())
    torch.testing.assert_close(found[1], found[0])


class TestNotRefused:
    """A layer that ran inside a frame and is used without one later, in whatever backward pass, is right."""

    def layer(self):
        layer = CoordConv2d(2, 2, 3, padding=1)
        with FRAMES["frame"]():
            layer(torch.rand(1, 2, 8, 8))
        return layer

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_checkpointing_without_frames(self, reentrant):
        run(CoordConv2d(2, 2, 3, padding=1), use_reentrant=reentrant).backward()

    def test_a_function_that_runs_a_layer_without_frames_in_its_backward_pass(self):
        layer = CoordConv2d(2, 2, 3, padding=1)

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, grad):
                return layer(grad)

        x = torch.rand(1, 2, 8, 8, requires_grad=True)
        Function.apply(x).sum().backward()
        assert x.grad is not None

    def test_derivatives_of_derivatives(self):
        layer, x = self.layer(), torch.rand(1, 2, 8, 8, requires_grad=True)
        with FRAMES["frame"]():
            out = layer(x)
        (first,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        first.sum().backward()
        assert layer.coord_weight.grad is not None

    def test_transforms(self):
        layer, x = self.layer(), torch.rand(2, 2, 8, 8)

        def loss(weight):
            return torch.func.functional_call(layer, {"coord_weight": weight}, (x,)).square().sum()

        weight = layer.coord_weight.detach()
        assert torch.func.grad(loss)(weight).isfinite().all()
        assert torch.func.jacrev(torch.func.grad(lambda scale: loss(scale * weight)))(torch.tensor(1.0)).isfinite()
        assert torch.func.vmap(lambda sample: layer(sample))(x).shape == x.shape


def test_a_layer_that_ran_in_a_frame_is_converted_back_and_again():
    layer = to_coordconv(nn.Conv2d(2, 2, 1))
    with FRAMES["frame"]():
        layer(torch.rand(1, 2, 8, 8))
    plain = from_coordconv(layer)
    assert vars(plain).keys() == vars(nn.Conv2d(2, 2, 1)).keys()
    assert isinstance(to_coordconv(plain), CoordConv2d)
