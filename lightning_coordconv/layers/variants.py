"""Functions that map convolution classes to CoordConv classes and back, create classes, and say why a layer has none.

For torch's six classes they are written out, so that they can be imported, subclassed and pickled by name. For a
subclass of those they are made when a layer is converted, by putting :class:`CoordConvNd` in front of it.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from lightning_coordconv.layers._torch import ConvNd, overridden
from lightning_coordconv.layers.base import CoordConvNd
from lightning_coordconv.layers.conv import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
)

_COORDCONV: dict[type[ConvNd], type[CoordConvNd]] = {
    nn.Conv1d: CoordConv1d,
    nn.Conv2d: CoordConv2d,
    nn.Conv3d: CoordConv3d,
    nn.ConvTranspose1d: CoordConvTranspose1d,
    nn.ConvTranspose2d: CoordConvTranspose2d,
    nn.ConvTranspose3d: CoordConvTranspose3d,
}
_PLAIN = {coordconv: plain for plain, coordconv in _COORDCONV.items()}

CONV2D_SAME = "timm.layers.conv2d_same"
KNOWN_FORWARDS = (CONV2D_SAME, "timm.layers.std_conv")
"""Modules whose classes override ``forward`` and still convolve their input: with a standardised weight, or padded as
TensorFlow's "SAME" pads. That is what the attribute ``same_pad`` says, of a class or, in timm, of a layer."""


def why_not_convertible(module: nn.Module) -> str | None:
    """Return why a convolution cannot become a CoordConv layer, and what to do instead; None if it can."""
    kind = type(module)
    torch_class = next((plain for plain in _COORDCONV if issubclass(kind, plain)), None)
    if isinstance(module, CoordConvNd):
        return "it is a CoordConv layer already"
    if torch_class is None:
        return "it is not a subclass of torch's six convolutions"
    if isinstance(module, LazyModuleMixin):
        return "it has no weight yet; run the model once first"
    if parametrize.is_parametrized(module):
        return "it is parametrized; convert it first and parametrize it then"
    known = kind.forward.__module__ in KNOWN_FORWARDS
    # Layers of timm have the attribute same_pad too, with the same meaning.
    names = set(given_names(torch_class)) - ({"same_pad"} if known else set())
    if taken := sorted(name for name in names if hasattr(module, name)):
        return f"it has {' and '.join(taken)}, names that conversion gives to attributes and methods; rename them"
    own = overridden(kind, torch_class)
    if not own or (own == ["forward"] and known):
        return None
    return (
        f"its class overrides {' and '.join(own)}; leave it out by name or predicate, or concatenate coordinates to "
        "its input with AddCoords"
    )


def given_names(torch_class: type[ConvNd]) -> list[str]:
    """Return the names of attributes and methods that conversion gives to a layer, and torch's class does not have."""
    names = {*dir(_COORDCONV[torch_class]), *CoordConvNd.__annotations__} - {*dir(torch_class)}
    return sorted(name for name in names if not name.startswith("_"))


def coordconv_class(plain: type[ConvNd]) -> type[CoordConvNd]:
    """Return the CoordConv class that belongs to a class of convolution."""
    if plain not in _COORDCONV:
        _COORDCONV[plain] = _make_coordconv(plain)
        _PLAIN[_COORDCONV[plain]] = plain
    return _COORDCONV[plain]


def plain_class(coordconv: type[CoordConvNd]) -> type[ConvNd] | None:
    """Return the class of convolution that a CoordConv class was made of; None for a user's subclass."""
    return _PLAIN.get(coordconv)


def derive(
    plain: type[ConvNd], bases: tuple[type, ...], name: str, rebuild: Callable[[type], Any], **members: Any
) -> Any:
    """Make a class that can be pickled although no module holds it: by the class of convolution it was made of."""

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return rebuild, (plain,), self.__getstate__()

    return type(name, bases, {"__module__": __name__, "__reduce_ex__": reduce} | members)


def _make_coordconv(plain: type[ConvNd]) -> type[CoordConvNd]:
    torch_class = next(kind for kind in _COORDCONV if issubclass(plain, kind))
    members: dict[str, Any] = {}
    if plain.forward is not torch_class.forward:
        forward: Any = plain.forward
        members = {"separates_bias": False, "convolve": lambda self, input, bias, output_padding: forward(self, input)}
        if forward.__module__ == CONV2D_SAME:
            members["same_pad"] = True
    made: type[CoordConvNd] = derive(plain, (_COORDCONV[torch_class], plain), f"Coord{plain.__name__}", _new, **members)
    return made


def _new(plain: type[ConvNd]) -> CoordConvNd:
    kind = coordconv_class(plain)
    return kind.__new__(kind)
