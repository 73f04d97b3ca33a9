"""Function that lets a model pad in another way than with zeros, and the mode that intercepts torch's functions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PARAMETERS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "pad": ("input", "pad", "mode", "value"),
}
"""Names of the arguments of torch's functions that pad maps, in their order."""


@contextmanager
def padded_with(model: nn.Module, mode: str) -> Iterator[None]:
    """Let everything that pads maps with zeros, and maximum pools, pad in another way within this context.

    That are convolutions, whatever the ``forward`` method of their class, windows of averages and maxima, and
    ``torch.nn.functional.pad``; not transposed convolutions, which have no padding that could be replaced.

    Args:
        model: any.
        mode: a ``padding_mode`` of torch's convolutions, such as ``"replicate"``.
    """
    convolutions = [  # CoordConv layers read it for their coordinates
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and module.padding not in ("valid", (0, 0))
    ]
    for convolution in convolutions:
        setattr(convolution, "padding_mode", mode)  # noqa: B010  # mypy allows constants only
    try:
        with _PadsWith(mode):
            yield
    finally:
        for convolution in convolutions:
            convolution.padding_mode = "zeros"


class _PadsWith(TorchFunctionMode):
    """Replaces the padding in calls of torch's functions."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pad before a function that would pad with zeros."""
        name = getattr(func, "__name__", "")
        if name not in PARAMETERS:
            return func(*args, **(kwargs or {}))
        given = dict(zip(PARAMETERS[name], args, strict=False)) | (kwargs or {})
        if name == "pad":
            constant = given.get("mode", "constant") == "constant" and not given.get("value")
            if constant and len(given["pad"]) == 4 and min(given["pad"]) >= 0 and max(given["pad"]) > 0:
                return self._pad(given["input"], given["pad"])
            return func(*args, **(kwargs or {}))
        pads = _pads(given)
        if max(pads) > 0:
            given["input"] = self._pad(given["input"], pads)
            given["padding"] = 0
        values = [given.pop(parameter) for parameter in PARAMETERS[name][:2]]
        return func(*values, **given)

    def _pad(self, map_: Tensor, pads: Sequence[int]) -> Tensor:
        return F.pad(map_, list(pads), mode=self.mode)


def _pads(given: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return how many cells a call adds on the left, on the right, above and below."""
    padding = given.get("padding", 0)
    if padding == "same":
        dilation = _pair(given.get("dilation", 1))
        rows, columns = (d * (size - 1) for d, size in zip(dilation, given["weight"].shape[-2:], strict=True))
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
    rows, columns = (0, 0) if padding == "valid" else _pair(padding)
    return columns, columns, rows, rows


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, *others = (value,) if isinstance(value, int) else value
    return first, others[0] if others else first
