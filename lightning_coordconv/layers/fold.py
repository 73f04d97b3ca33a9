"""Folded layers (convolutions with a stored coordinate bias), and the function that folds a model for an input size."""

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from lightning_coordconv.layers._torch import ConvNd
from lightning_coordconv.layers.arguments import check_module
from lightning_coordconv.layers.base import CoordConvNd
from lightning_coordconv.layers.convert import coordconv_layers
from lightning_coordconv.layers.coordinate_bias import convolve_coordinates
from lightning_coordconv.layers.frames import active_frame
from lightning_coordconv.layers.guards import GuardedModule, check_forward, check_not_quantised
from lightning_coordconv.layers.reparametrized import copy_module, make_weights_permanent
from lightning_coordconv.layers.tracing import is_traced_symbolically, trace_as_leaf
from lightning_coordconv.layers.variants import derive, plain_class

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Sizes = tuple[int, ...]


class FoldedConvNd(GuardedModule, ConvNd):
    """What the folded layers share: the torch class, plus a stored coordinate bias for one size of map.

    The stored tensor includes the bias of the layer, whose ``bias`` is None: one addition serves both. A layer that the
    model applies at several sizes, as a detection head on every level of a pyramid, stores one tensor for each. Made by
    :func:`fold_coordconv` only.

    Attributes:
        folded_sizes: Spatial sizes of input and output, by the name of the buffer that belongs to them.
    """

    folded_sizes: dict[str, tuple[Sizes, Sizes]]

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Convolve, and add the coordinate bias.

        Args:
            input: What the layer took before it was folded, of a size that it was folded for.
            *args: As for the torch class.
            **kwargs: As for the torch class.

        Returns:
            What the layer returned before it was folded, to rounding.

        Raises:
            ValueError: If the input has another size, or a coordinate frame is active.
        """
        if is_traced_symbolically(input):
            return trace_as_leaf(self, input, *args, **kwargs)
        check_not_quantised(input, type(self).__name__)
        if active_frame() is not None:
            raise ValueError(f"{type(self).__name__} cannot follow a coordinate frame: its coordinates are folded")
        out: Tensor = super().forward(input, *args, **kwargs)
        n = len(self.kernel_size)
        sizes = (input.shape[-n:], out.shape[-n:])
        for name, known in self.folded_sizes.items():
            if sizes == known:
                bias = self.get_buffer(name)
                # In place: nothing else holds the convolution's output, and its gradient does not need it.
                return out.add_(bias if out.dim() == n + 2 else bias[0])
        known_sizes = " or ".join(_by(into) for into, _ in self.folded_sizes.values())
        raise ValueError(
            f"{type(self).__name__} was folded for inputs of {known_sizes}, but got {_by(sizes[0])}; "
            "fold the unfolded model again with example inputs of that size"
        )


class FoldedConv1d(FoldedConvNd, nn.Conv1d):
    """An ``nn.Conv1d`` with a coordinate bias; see :class:`FoldedConvNd`."""


class FoldedConv2d(FoldedConvNd, nn.Conv2d):
    """An ``nn.Conv2d`` with a coordinate bias; see :class:`FoldedConvNd`."""


class FoldedConv3d(FoldedConvNd, nn.Conv3d):
    """An ``nn.Conv3d`` with a coordinate bias; see :class:`FoldedConvNd`."""


class FoldedConvTranspose1d(FoldedConvNd, nn.ConvTranspose1d):
    """An ``nn.ConvTranspose1d`` with a coordinate bias; see :class:`FoldedConvNd`."""


class FoldedConvTranspose2d(FoldedConvNd, nn.ConvTranspose2d):
    """An ``nn.ConvTranspose2d`` with a coordinate bias; see :class:`FoldedConvNd`."""


class FoldedConvTranspose3d(FoldedConvNd, nn.ConvTranspose3d):
    """An ``nn.ConvTranspose3d`` with a coordinate bias; see :class:`FoldedConvNd`."""


FOLDED: dict[type[ConvNd], type[FoldedConvNd]] = {
    nn.Conv1d: FoldedConv1d,
    nn.Conv2d: FoldedConv2d,
    nn.Conv3d: FoldedConv3d,
    nn.ConvTranspose1d: FoldedConvTranspose1d,
    nn.ConvTranspose2d: FoldedConvTranspose2d,
    nn.ConvTranspose3d: FoldedConvTranspose3d,
}


def folded_class(plain: type[ConvNd]) -> type[FoldedConvNd]:
    """Return the folded class that belongs to a class of convolution."""
    if plain not in FOLDED:
        FOLDED[plain] = derive(plain, (FoldedConvNd, plain), f"Folded{plain.__name__}", _new)
    return FOLDED[plain]


def _new(plain: type[ConvNd]) -> FoldedConvNd:
    return folded_class(plain).__new__(folded_class(plain))


def fold_coordconv(model: ModuleT, example_inputs: Tensor | tuple[Any, ...]) -> ModuleT:
    """Return a copy of a model in which each CoordConv layer is a plain convolution plus a constant coordinate bias.

    For inference at the size (or sizes) of the example: outputs equal those of the model to rounding, at the price of
    one addition in place, and the copy compiles and exports like any model. Batch size remains free. Parametrizations,
    pruning and normalisation of a layer's weights are made permanent in the copy.

    The example runs through the copy once, in eval mode and without gradients. Layers that it does not reach (say, an
    auxiliary head that only runs in training) stay CoordConv layers. Fold in the dtype, memory format and autocast
    context of deployment: the coordinate biases are stored in that of each layer's output.

    Args:
        model: Any module that contains CoordConv layers, or a single layer.
        example_inputs: The positional arguments of the model, or its only one if that is a tensor.

    Returns:
        The folded copy, in the training or eval mode of the model, which is left as it is.

    Raises:
        TypeError: If the model is no module.
        ValueError: If the example reaches no CoordConv layer, or one of a user's subclass, or if a layer runs inside
            a coordinate frame: folded coordinates are those of the whole input; or if the model changes a layer
            between two calls with inputs of the same size.
    """
    check_module("model", model)
    args = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    with torch.inference_mode(False), torch.no_grad():
        folded = copy_module(model)
        modes = {module: module.training for module in folded.modules()}
        folded.eval()
        layers = coordconv_layers(folded)
        for name, layer in layers.items():
            make_weights_permanent(layer)
            check_forward(layer, repr(name))
            if plain_class(type(layer)) is None:
                raise ValueError(
                    f"{name!r} is a {type(layer).__qualname__}, which cannot be folded: only the six CoordConv classes "
                    "and converted layers can"
                )
        biases: dict[CoordConvNd, dict[tuple[Sizes, Sizes], Tensor]] = {}

        def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
            assert isinstance(layer, CoordConvNd)
            _record(layer, args[0] if args else kwargs["input"], out, biases.setdefault(layer, {}))

        # before other hooks, which may change the output
        handles = [layer.register_forward_hook(record, prepend=True, with_kwargs=True) for layer in layers.values()]
        folded(*args)
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
        if not biases:
            raise ValueError(
                f"the example reaches no CoordConv layer of {type(model).__name__}, which has {list(layers)}"
            )
        for layer, biases_of_layer in biases.items():
            _fold(layer, biases_of_layer)
    return folded


def _record(layer: CoordConvNd, x: Tensor, out: Tensor, biases: dict[tuple[Sizes, Sizes], Tensor]) -> None:
    """Compute the coordinate bias that a layer just added to its output, and check that it is the same in each call."""
    if active_frame() is not None:
        raise ValueError("a model cannot be folded inside a coordinate frame: its coordinates would not be constant")
    n = len(layer.kernel_size)
    sizes = (tuple(x.shape[-n:]), tuple(out.shape[-n:]))
    bias = convolve_coordinates(layer, layer.coord_weight, sizes[0], _output_padding(layer, *sizes))
    if layer.bias is not None:
        bias = bias + layer.bias.view(-1, *(1,) * n)
    stored = torch.empty_like(out[:1] if out.dim() == n + 2 else out[None])  # its dtype and memory format
    stored.copy_(bias)
    known = biases.setdefault(sizes, stored)
    if known.dtype != stored.dtype or not torch.allclose(known, stored, rtol=0, atol=0, equal_nan=True):
        raise ValueError(
            f"the model changes the weights, the geometry or the dtype of a {type(layer).__name__} between two calls "
            f"with inputs of {_by(sizes[0])}, so that its coordinate bias is not constant"
        )


def _output_padding(layer: CoordConvNd, into: Sizes, out: Sizes) -> list[int] | None:
    """Return the output padding that made a transposed layer's output: ``output_size`` may have chosen it."""
    if not layer.transposed:
        return None
    # (torch computes a transposed convolution of a module only where its padding is a tuple)
    axes = zip(into, out, layer.stride, layer.padding, layer.dilation, layer.kernel_size, strict=True)
    return [size - ((cells - 1) * s - 2 * p + d * (k - 1) + 1) for cells, size, s, p, d, k in axes]


def _fold(layer: CoordConvNd, biases: dict[tuple[Sizes, Sizes], Tensor]) -> None:
    """Turn a layer into a plain convolution with coordinate biases, in place."""
    kind = folded_class(cast(type[ConvNd], plain_class(type(layer))))
    del layer.coord_weight, layer.with_r, layer.encoding
    vars(layer).pop("ran_in_frame", None)
    layer.__class__ = kind  # type: ignore[assignment]  # a class swap is the point
    assert isinstance(layer, FoldedConvNd)
    layer.bias = None
    # Sizes are in the names, so that a state dict does not load into a layer that was folded for other inputs.
    layer.folded_sizes = {f"coordinate_bias_{_by(sizes[0])}_to_{_by(sizes[1])}": sizes for sizes in biases}
    for name, bias in zip(layer.folded_sizes, biases.values(), strict=True):
        layer.register_buffer(name, bias)


def _by(sizes: Sizes) -> str:
    return "x".join(map(str, sizes))
