"""Context manager for tests that finds, on a CPU, the operations that would make the host wait for a device.

They are reads of values on the device, and copies to it that are not ``non_blocking``.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import lightning_coordconv

READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select"}
READS |= {"aten::unique_dim", "aten::_unique2"}
"""Operators whose result, or whose result's shape, the host must know before it can go on."""
METHODS = {"tolist", "numpy", "cpu", "item", "__bool__", "__int__", "__float__", "__index__", "__array__"}
"""Methods of tensors that copy values to the host, without passing the dispatcher."""
ON_CPU = {"layers/taps.py:_factor"}
"""Places that read tables which are made on the CPU, once a geometry."""


def _caller() -> str:
    """Return the innermost line of the package on the stack, as ``file.py:function``."""
    package = lightning_coordconv.__path__[0]
    frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(package)]
    return f"{frames[-1].filename.removeprefix(package + '/')}:{frames[-1].name}" if frames else "elsewhere"


def _waits_for_copy(name: str, args: Any, kwargs: Any) -> bool:
    """Return whether a call copies values of the host to a device and waits until they are there; not in libraries."""
    if "site-packages" in sys._getframe(2).f_code.co_filename:  # 0 is this function, and 1 the mode
        return False
    if name in ("tensor", "as_tensor"):
        return kwargs.get("device") not in (None, "cpu")
    to_device = name == "to" and (isinstance(args[1], torch.device) if len(args) > 1 else "device" in kwargs)
    return to_device and not kwargs.get("non_blocking", kwargs.get("copy"))


class _Operators(TorchDispatchMode):
    def __init__(self, found: set[tuple[str, str]]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name.startswith("aten::index") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        # index_put_ with a mask and a scalar becomes masked_fill, which does not wait
        if name in READS or (by_mask and name == "aten::index"):
            self.found.add((name, _caller()))
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, found: set[tuple[str, str]]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in METHODS or _waits_for_copy(name, args, kwargs or {}):
            self.found.add((name, _caller()))
        return func(*args, **(kwargs or {}))


@contextmanager
def device_reads() -> Iterator[set[tuple[str, str]]]:
    """Collect what would make the host wait for a device.

    Yields:
        A set that fills with pairs of an operator and of the place in the package that called it. On a CUDA device
        :func:`torch.cuda.set_sync_debug_mode` is the better test.
    """
    found: set[tuple[str, str]] = set()
    with _Operators(found), _Methods(found):
        yield found
    found -= {(name, place) for name, place in found if place in ON_CPU}
