"""Functions that check that a model of another library can be converted to CoordConv layers, compiled and exported."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.foreign.models import Model
from lightning_coordconv import coordconv_layers, fold_coordconv, from_coordconv, to_coordconv
from lightning_coordconv.layers.variants import why_not_convertible

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TOLERANCE = 1e-3
"""Largest difference of outputs that counts as rounding, as a share of the largest output."""


class PlainModelError(RuntimeError):
    """The model fails as it is, or has nothing to convert."""


def surgery(model: Model) -> dict[str, str]:
    """Convert all convolutions that can be converted; compare outputs, state dicts, and the way back; fold.

    Returns:
        For each check an empty string if it holds, or what differs.
    """
    plain, inputs = build(model)
    expected = run(plain, inputs)
    if not equal(expected, run(plain, inputs)):
        raise PlainModelError("two calls with one input give two outputs")
    state = plain.state_dict()
    converted, left_out = convert(copy.deepcopy(plain))
    found = {"layers": str(len(coordconv_layers(converted))), "left out": left_out}
    found["equal"] = "" if equal(expected, run(converted, inputs)) else "outputs differ"
    randomise(converted)
    with_coordinates = run(converted, inputs)
    found["sees coordinates"] = "" if difference(expected, with_coordinates) > 10 * TOLERANCE else "hardly"

    folded = fold_coordconv(converted, inputs)
    error = difference(with_coordinates, run(folded, inputs))
    found["fold"] = "" if error < TOLERANCE else f"outputs differ by {error:.1e}"

    converted.load_state_dict(state, strict=True)
    found["load"] = "" if equal(expected, run(converted, inputs)) else "outputs differ after loading"
    back = from_coordconv(converted)
    same_classes = [type(module) for module in back.modules()] == [type(module) for module in plain.modules()]
    same = same_classes and list(back.state_dict()) == list(state) and equal(expected, run(back, inputs))
    found["back"] = "" if same else "not the plain model again"
    return found


def compiles(model: Model) -> dict[str, str]:
    """Compile with ``torch.compile(backend="aot_eager")``, graph breaks allowed, and compare with the model."""

    def error_of(network: nn.Module, inputs: tuple[Any, ...]) -> float:
        torch.compiler.reset()
        compiled: Any = torch.compile(network, backend="aot_eager")
        return difference(run(network, inputs), run(compiled, inputs))

    return _compared(model, error_of)


def exports(model: Model) -> dict[str, str]:
    """Export with ``torch.onnx.export(dynamo=True)``, run by onnxruntime, and compare with the model."""
    import onnxruntime

    def error_of(network: nn.Module, inputs: tuple[Any, ...]) -> float:
        program = torch.onnx.export(network, inputs, dynamo=True, verbose=False)
        assert program is not None
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        values = [value.numpy() for value in tensors(inputs)]
        feeds = {entry.name: value for entry, value in zip(session.get_inputs(), values, strict=True)}
        outputs = [torch.from_numpy(value) for value in session.run(None, feeds)]
        return difference(run(network, inputs), outputs)

    return _compared(model, error_of)


def _compared(model: Model, error_of: Any) -> dict[str, str]:
    plain, inputs = build(model)
    converted, _ = convert(copy.deepcopy(plain))
    randomise(converted)
    try:
        error = error_of(converted, inputs)
    except Exception as reason:
        try:
            error_of(plain, inputs)
        except Exception as plain_reason:
            raise PlainModelError(first_line(plain_reason)) from reason
        raise
    if error >= TOLERANCE and (own := error_of(plain, inputs)) >= TOLERANCE:
        raise PlainModelError(f"outputs differ by {own:.1e}")
    return {"": "" if error < TOLERANCE else f"outputs differ by {error:.1e}"}


def build(model: Model) -> tuple[nn.Module, tuple[Any, ...]]:
    """Build a model in eval mode, none of whose parameters is zero, and its input."""
    torch.manual_seed(0)
    network, inputs = model.build()
    network.eval().to(model.dtype)
    with torch.no_grad():
        for parameter in network.parameters():  # scales and heads that start at zero hide what comes before
            if parameter.is_floating_point():
                parameter.requires_grad_(False)
                parameter.add_(0.02 * torch.randn_like(parameter))
        try:
            outputs = list(tensors(network(*copy.deepcopy(inputs))))
        except Exception as error:
            raise PlainModelError(first_line(error)) from error
        if not all(bool(value.isfinite().all()) for value in outputs if value.is_floating_point()):
            raise PlainModelError("its outputs are not finite with random weights")
    return network, inputs


def convert(network: nn.Module) -> tuple[nn.Module, str]:
    """Convert every convolution that can be, and return also which ones are left out, and why."""
    reasons: dict[str, int] = {}
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS) and (reason := why_not_convertible(module)):
            text = f"{type(module).__module__.split('.')[0]}.{type(module).__name__}: {reason.partition(';')[0]}"
            reasons[text] = reasons.get(text, 0) + 1
    left_out = "; ".join(f"{count} {text}" for text, count in reasons.items())
    if sum(reasons.values()) == sum(isinstance(module, CONVOLUTIONS) for module in network.modules()):
        raise PlainModelError(f"no convolution that can be converted ({left_out or 'it has none'})")
    to_coordconv(network, lambda _, module: why_not_convertible(module) is None)
    return network, left_out


def randomise(network: nn.Module) -> None:
    """Draw coordinate weights, as large as the other weights of their layer."""
    with torch.no_grad():
        for layer in coordconv_layers(network).values():
            layer.coord_weight.normal_(std=float(layer.weight.std(correction=0)) + 1e-3)


def run(network: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Return the tensors that a model returns, wherever they are nested."""
    torch.manual_seed(0)
    with torch.no_grad():
        return list(tensors(network(*copy.deepcopy(inputs))))


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from tensors(entry)
    elif hasattr(value, "sample") and isinstance(value.sample, Tensor):
        yield value.sample


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Return whether all outputs are equal, bit for bit."""
    return bool(first) and len(first) == len(second) and all(map(torch.equal, first, second))


def difference(first: list[Tensor], second: list[Tensor]) -> float:
    """Return the largest difference of outputs, as a share of the largest output; infinite for other shapes."""
    if not first or [value.shape for value in first] != [value.shape for value in second]:
        return float("inf")
    largest = 0.0
    for mine, other in zip(first, second, strict=True):
        if mine.numel() and mine.dtype != torch.bool:
            scale = mine.double().abs().max().clamp_min(1e-12)
            largest = max(largest, float((mine.double() - other.double()).abs().max() / scale))
    return largest


def first_line(error: BaseException) -> str:
    """Return the class and the first line of an error, at most 160 characters."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:160]
