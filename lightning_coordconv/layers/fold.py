"""Deploy at a fixed size: a plain convolution plus one constant position bias for each CoordConv layer."""

import copy
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lightning_coordconv.layers.base import CoordConvNd
from lightning_coordconv.layers.conv import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
)
from lightning_coordconv.layers.convert import coordconv_layers
from lightning_coordconv.layers.frames import active_frame
from lightning_coordconv.layers.pointwise import is_small_product, pointwise_product
from lightning_coordconv.layers.response import coordinate_response

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Sizes = tuple[int, ...]


class FoldedConvNd(_ConvNd):
    """What the folded layers share: the torch class, plus a stored response to the coordinates of one size.

    The stored tensor includes the bias of the layer, which has none of its own: one addition serves both. A layer
    that the model applies at several sizes, as a detection head on every level of a pyramid, stores one response for
    each. Made by :func:`fold_coordconv` only.

    Attributes:
        folded_sizes: Spatial sizes of input and output, by the name of the buffer that belongs to them.
    """

    folded_sizes: dict[str, tuple[Sizes, Sizes]]

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Convolve, and add the position bias.

        Args:
            input: What the layer took before it was folded, of a size that it was folded for.
            *args: As for the torch class.
            **kwargs: As for the torch class.

        Returns:
            What the layer returned before it was folded, to rounding.

        Raises:
            ValueError: If the input has another size, or a coordinate frame is active.
        """
        if active_frame() is not None:
            raise ValueError(f"{type(self).__name__} can't follow a coordinate frame: its coordinates are folded")
        product = is_small_product(self, input)
        out: Tensor = input if product else super().forward(input, *args, **kwargs)  # a product keeps the sizes
        n = len(self.kernel_size)
        sizes = (input.shape[-n:], out.shape[-n:])
        for name, known in self.folded_sizes.items():
            if sizes == known:
                # Past Module.__getattr__, whose search is a measurable part of a small convolution.
                bias = cast(Tensor, self._buffers[name])
                if product:
                    return pointwise_product(input, self.weight, bias)
                # In place: nothing else holds the convolution's output, and its gradient does not need it.
                return out.add_(bias if out.dim() == n + 2 else bias[0])
        known_sizes = " or ".join("x".join(map(str, into)) for into, _ in self.folded_sizes.values())
        raise ValueError(
            f"{type(self).__name__} was folded for inputs of {known_sizes}, but got {'x'.join(map(str, sizes[0]))}; "
            "fold the unfolded model again with example inputs of that size"
        )


class FoldedConv1d(FoldedConvNd, nn.Conv1d):
    """An ``nn.Conv1d`` with a position bias; see :class:`FoldedConvNd`."""


class FoldedConv2d(FoldedConvNd, nn.Conv2d):
    """An ``nn.Conv2d`` with a position bias; see :class:`FoldedConvNd`."""


class FoldedConv3d(FoldedConvNd, nn.Conv3d):
    """An ``nn.Conv3d`` with a position bias; see :class:`FoldedConvNd`."""


class FoldedConvTranspose1d(FoldedConvNd, nn.ConvTranspose1d):
    """An ``nn.ConvTranspose1d`` with a position bias; see :class:`FoldedConvNd`."""


class FoldedConvTranspose2d(FoldedConvNd, nn.ConvTranspose2d):
    """An ``nn.ConvTranspose2d`` with a position bias; see :class:`FoldedConvNd`."""


class FoldedConvTranspose3d(FoldedConvNd, nn.ConvTranspose3d):
    """An ``nn.ConvTranspose3d`` with a position bias; see :class:`FoldedConvNd`."""


FOLDED: dict[type[CoordConvNd], type[FoldedConvNd]] = {
    CoordConv1d: FoldedConv1d,
    CoordConv2d: FoldedConv2d,
    CoordConv3d: FoldedConv3d,
    CoordConvTranspose1d: FoldedConvTranspose1d,
    CoordConvTranspose2d: FoldedConvTranspose2d,
    CoordConvTranspose3d: FoldedConvTranspose3d,
}


def fold_coordconv(model: ModuleT, example_inputs: Tensor | tuple[Any, ...]) -> ModuleT:
    """Return a copy of a model in which each CoordConv is a plain convolution plus a constant position bias.

    For inference at the size (or sizes) of the example: outputs equal those of the model to rounding, at the price of
    one addition in place, and the copy compiles and exports like any model. Batch size remains free.

    The example runs through the copy once, in eval mode and without gradients. Layers that it does not reach (say, an
    auxiliary head that only runs in training) stay CoordConv layers. Fold in the dtype, memory format and autocast
    context of deployment: the position biases are stored in that of each layer's output.

    Args:
        model: Any module that contains CoordConv layers, or a single layer.
        example_inputs: The positional arguments of the model, or its only one if that is a tensor.

    Returns:
        The folded copy, in the training or eval mode of the model, which is left as it is.

    Raises:
        ValueError: If the example reaches no CoordConv layer, or one of a class of its own, or if a layer runs inside
            a coordinate frame: folded coordinates are those of the whole input.
    """
    args = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    with torch.inference_mode(False), torch.no_grad():
        folded = copy.deepcopy(model)
        layers = coordconv_layers(folded)
        for name, layer in layers.items():
            if type(layer) not in FOLDED:
                raise ValueError(f"{name!r} is a {type(layer).__qualname__}, which can't be folded")
        modes = {module: module.training for module in folded.modules()}
        responses: dict[CoordConvNd, dict[tuple[Sizes, Sizes], Tensor]] = {}

        def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
            assert isinstance(layer, CoordConvNd)
            _record(layer, args[0] if args else kwargs["input"], out, responses.setdefault(layer, {}))

        handles = [layer.register_forward_hook(record, with_kwargs=True) for layer in layers.values()]
        folded.eval()(*args)
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
        if not responses:
            raise ValueError(
                f"the example reaches no CoordConv layer of {type(model).__name__}, which has {list(layers)}"
            )
        for layer, biases in responses.items():
            _fold(layer, biases)
    return folded


def _record(layer: CoordConvNd, x: Tensor, out: Tensor, biases: dict[tuple[Sizes, Sizes], Tensor]) -> None:
    """Compute the response that a layer just added to its output, unless it is known already."""
    if active_frame() is not None:
        raise ValueError("a model can't be folded inside a coordinate frame: its coordinates would not be constant")
    n = len(layer.kernel_size)
    sizes = (tuple(x.shape[-n:]), tuple(out.shape[-n:]))
    if sizes in biases:
        return
    stored = torch.empty_like(out[:1] if out.dim() == n + 2 else out[None])  # its dtype and memory format
    response = coordinate_response(layer, sizes[0], _output_padding(layer, *sizes))
    if layer.bias is not None:
        response = response + layer.bias.view(-1, *(1,) * n)
    biases[sizes] = stored.copy_(response)


def _output_padding(layer: CoordConvNd, into: Sizes, out: Sizes) -> list[int] | None:
    """Return the output padding that made a transposed layer's output: ``output_size`` may have chosen it."""
    if not layer.transposed or isinstance(layer.padding, str):
        return None
    geometry = zip(into, out, layer.stride, layer.padding, layer.dilation, layer.kernel_size, strict=True)
    return [size - ((cells - 1) * s - 2 * p + d * (k - 1) + 1) for cells, size, s, p, d, k in geometry]


def _fold(layer: CoordConvNd, biases: dict[tuple[Sizes, Sizes], Tensor]) -> None:
    """Turn a layer into a plain convolution with position biases, in place."""
    kind = FOLDED[type(layer)]
    del layer.coord_weight, layer.with_r, layer.encoding
    layer.__class__ = kind  # type: ignore[assignment]  # a class swap is the point
    assert isinstance(layer, FoldedConvNd)
    layer.bias = None
    layer.folded_sizes = {f"position_bias_{index}": sizes for index, sizes in enumerate(biases)}
    for name, bias in zip(layer.folded_sizes, biases.values(), strict=True):
        layer.register_buffer(name, bias)
