"""Functions that detect symbolic tracing by torch.fx, and record a layer as one node of the traced graph."""

from typing import Any, cast

from torch import Tensor, nn
from torch.fx import Proxy


def is_traced_symbolically(input: object) -> bool:
    """Return whether ``torch.fx`` traces a model symbolically, with proxies in place of tensors."""
    return isinstance(input, Proxy)


def trace_as_leaf(module: nn.Module, input: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Record a call of a module in the graph of ``torch.fx``, as it records the layers of torch."""
    tracer = input.tracer
    return cast(Tensor, tracer.create_proxy("call_module", tracer.path_of_module(module), (input, *args), kwargs))
