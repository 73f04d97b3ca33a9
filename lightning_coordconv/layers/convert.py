"""Functions that convert chosen convolutions of a model to CoordConv layers, list CoordConv layers, and convert back.

A convolution is converted in place, by changing its class, as ``torch.nn.utils.parametrize`` does: the module stays
the same object with the same ``weight`` and ``bias``, so its hooks, aliases, mode, device, dtype, state-dict keys and
any optimiser that holds its parameters are untouched. Its coordinate weights start at zero, so the outputs of the model
stay bit for bit what they were, until it is trained.
"""

import copy
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias, TypeVar

import torch
from torch import nn

from lightning_coordconv.layers._torch import ConvNd
from lightning_coordconv.layers.arguments import check_dtype, check_flags, check_module
from lightning_coordconv.layers.base import CoordConvNd
from lightning_coordconv.layers.coords import num_coordinates
from lightning_coordconv.layers.encodings import Encoding
from lightning_coordconv.layers.guards import check_forward
from lightning_coordconv.layers.variants import coordconv_class, plain_class, why_not_convertible

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Where: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool]


def to_coordconv(
    model: ModuleT, where: Where = "first", *, with_r: bool = False, encoding: Encoding | None = None
) -> ModuleT:
    """Convert convolutions of a model to CoordConv layers, in place, without changing its outputs.

    Convolutions of torch's six classes can be converted, anywhere in any nesting; subclasses that compute as those do;
    and timm's ``Conv2dSame``, ``StdConv2d``, ``ScaledStdConv2d`` and their "same" versions: the coordinate bias is
    added to what they compute, and follows their padding. Selecting any other subclass, one with an attribute or method
    of a name that CoordConv layers use, such as ``encoding``, a lazy or a parametrized convolution is an error rather
    than a silent omission; leave those out by name or predicate.

    An optimiser made before goes on training the old parameters; give it the new ones with::

        new = [layer.coord_weight for layer in coordconv_layers(model).values()]
        optimizer.add_param_group({"params": new, "weight_decay": 0.0})

    The new parameters require gradients even where the old ones are frozen, as in a pretrained detection backbone:
    frozen at zero they would be of no use.

    Args:
        model: Any module; also a single convolution.
        where: Which convolutions. ``"first"``, the one registered first, usually the one that sees the image, as in
            the paper's ImageNet experiment; ``"all"``; a name as in ``model.named_modules()`` or a glob pattern
            (``"layer1.*"``), or several of them; or a predicate ``(name, module) -> bool``, which is asked about
            every convolution that is not a CoordConv layer yet.
        with_r: Also give the layers the radius.
        encoding: What they see instead of the plain coordinates; each layer gets a copy.

    Returns:
        The model itself.

    Raises:
        TypeError: If an argument is of another type, or a selected convolution of a dtype that is not floating-point.
        ValueError: If a convolution is selected that cannot be converted, or a pattern or the predicate selects none;
            or if the model is wrapped by ``DistributedDataParallel``. The model is then as it was.
    """
    check_module("model", model)
    if any(isinstance(module, nn.parallel.DistributedDataParallel) for module in model.modules()):
        raise ValueError(
            "DistributedDataParallel synchronises only the parameters that a model had when it was wrapped, so no "
            "coordinate weights: convert the model first and wrap it then"
        )
    selected = _select(model, where)
    for module, name in selected.items():
        reason = why_not_convertible(module)
        if reason is not None:
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            raise ValueError(f"{_quote(name)} is a {kind}, which cannot be converted: {reason}; {_convertible(model)}")
        check_forward(module, _quote(name))
        check_dtype(module.weight.dtype)
        num_coordinates(len(module.kernel_size), with_r, encoding)  # refuse bad options before the first change
    for module in selected:
        module.__class__ = coordconv_class(type(module))
        assert isinstance(module, CoordConvNd)
        module.add_coordinates(with_r=with_r, encoding=copy.deepcopy(encoding))
    return model


def coordconv_layers(model: nn.Module) -> dict[str, CoordConvNd]:
    """Return the CoordConv layers of a model by name, in the order of ``model.named_modules()``."""
    check_module("model", model)
    return {name: module for name, module in model.named_modules() if isinstance(module, CoordConvNd)}


def from_coordconv(model: ModuleT, *, discard: bool = False) -> ModuleT:
    """Convert all CoordConv layers of a model back to plain convolutions, in place.

    With coordinate weights of zero the outputs stay bit for bit what they were. To keep what non-zero coordinate
    weights have learnt, see :func:`fold_coordconv`.

    Args:
        model: Any module; also a single layer.
        discard: Drop coordinate weights that are not zero, and with them what they contribute.

    Returns:
        The model itself.

    Raises:
        TypeError: If the model is no module, or ``discard`` no bool.
        ValueError: If the model has no CoordConv layer, or one of a user's subclass, or one whose coordinate weights
            are not zero and not to be discarded. The model is then as it was.
    """
    layers = coordconv_layers(model)
    check_flags(discard=discard)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no CoordConv layer to convert back")
    for name, layer in layers.items():
        if plain_class(type(layer)) is None:
            raise ValueError(
                f"{_quote(name)} is a {type(layer).__qualname__}, which cannot be converted back: only the six "
                "CoordConv classes and converted layers can. Remove parametrizations first, with "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
        check_forward(layer, _quote(name))
        if not discard and (layer.coord_weight.is_meta or torch.count_nonzero(layer.coord_weight)):
            raise ValueError(
                f"the coordinate weights of {_quote(name)} are not zero; pass discard=True to drop what they "
                "contribute, or use fold_coordconv to keep it at a fixed size"
            )
    for layer in layers.values():
        del layer.coord_weight, layer.with_r, layer.encoding
        vars(layer).pop("ran_in_frame", None)
        layer.__class__ = plain_class(type(layer))  # type: ignore[assignment]  # a class swap is the point
    return model


def _select(model: nn.Module, where: Where) -> dict[ConvNd, str]:
    """Return the convolutions that ``where`` means, each once, with the first of the names that it was found under."""
    convs = [(name, m) for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, ConvNd)]
    todo = [(name, m) for name, m in convs if not isinstance(m, CoordConvNd)]
    if where == "all":
        chosen = todo
    elif where == "first":
        chosen = [(name, m) for name, m in convs[:1] if not isinstance(m, CoordConvNd)]
    elif isinstance(where, nn.Module) or not (isinstance(where, str | Sequence) or callable(where)):
        raise TypeError(f"where must be a name, a list of names or a predicate, but got {where!r}")
    elif callable(where):
        chosen = [(name, m) for name, m in todo if where(name, m)]
    else:
        chosen = []
        for pattern in (where,) if isinstance(where, str) else where:
            matched = [(name, m) for name, m in todo if fnmatchcase(name, pattern)]
            if not matched:
                raise _no_match(model, f"{pattern!r} matches")
            chosen += matched
    if not chosen:
        raise _no_match(model, f"where={where!r} selects")
    selected: dict[ConvNd, str] = {}
    for name, module in chosen:
        selected.setdefault(module, name)
    return selected


def _no_match(model: nn.Module, what: str) -> ValueError:
    message = f"{what} no convolution of {type(model).__name__} that is not a CoordConv yet; {_convertible(model)}"
    already = list(coordconv_layers(model))
    return ValueError(message + (f"; CoordConv already: {_enumerate(already)}" if already else ""))


def _convertible(model: nn.Module) -> str:
    modules = model.named_modules()
    names = [name for name, m in modules if isinstance(m, ConvNd) and why_not_convertible(m) is None]
    return f"convertible convolutions: {_enumerate(names)}"


def _enumerate(names: list[str], limit: int = 30) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(_quote, names[:limit])) + rest if names else "none"


def _quote(name: str) -> str:
    return repr(name) if name else "the model itself"
