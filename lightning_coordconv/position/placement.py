"""Function that chooses, by a model's structure, which convolutions to convert to CoordConv, and its result's class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from lightning_coordconv.layers import AddCoords, coordconv_layers
from lightning_coordconv.position.features import is_vector


@dataclass(frozen=True)
class Placement:
    """Names of convolutions, and why these.

    Attributes:
        names: for ``to_coordconv(model, where=names)``.
        reason: in words, to follow the names.
        seeing: names of the modules that see coordinates already.
    """

    names: list[str]
    reason: str
    seeing: Sequence[str] = ()


def place(model: nn.Module, forward: Callable[[], Any]) -> Placement:
    """Choose the convolutions that should see coordinates.

    - A model with a feature pyramid: the pyramid's 1x1 laterals, and the first convolution of each head after it, as in
      PP-YOLO (Long et al., 2020) and SOLO (Wang et al., 2020).
    - A model that returns one vector an image: the first convolution, as in the paper's ImageNet experiment, and the
      last one before the maps are pooled, from where on no layer could tell where a feature was. Where a map has one
      cell, as in squeeze and excitation or behind the pool, coordinates are 0.
    - A model that returns a map: the first convolution and the last that sees a neighbourhood.

    Args:
        model: any.
        forward: runs it once, so that the order of its convolutions is known.

    Raises:
        ValueError: if the model runs no plain 2-D convolution on more than one cell.
    """
    names = {module: name for name, module in model.named_modules()}
    ran: list[nn.Conv2d] = []
    after_pyramid: list[nn.Conv2d] = []
    pyramids = [module for module in model.modules() if isinstance(module, FeaturePyramidNetwork)]
    done = False

    def note(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal done
        if isinstance(module, FeaturePyramidNetwork):
            done = True
        elif isinstance(module, nn.Conv2d) and module not in ran and output.shape[-2:].numel() > 1:
            ran.append(module)
            if done:
                after_pyramid.append(module)

    watched = [module for module in names if isinstance(module, nn.Conv2d | FeaturePyramidNetwork)]
    hooks = [module.register_forward_hook(note) for module in watched]
    try:
        output = forward()
    finally:
        for hook in hooks:
            hook.remove()
    plain = [module for module in ran if type(module) is nn.Conv2d]
    if not plain:
        raise ValueError(f"{type(model).__name__} runs no plain 2-D convolution that could see coordinates")
    seeing = [*coordconv_layers(model), *(name for module, name in names.items() if isinstance(module, AddCoords))]
    if pyramids:
        laterals = [m for p in pyramids for m in p.inner_blocks.modules() if isinstance(m, nn.Conv2d) and m in plain]
        heads = _firsts([module for module in after_pyramid if module in plain], names)
        chosen = [names[module] for module in [*laterals, *heads]]
        return Placement(chosen, "the pyramid's laterals and the heads", seeing)
    of = "" if plain == ran else "of the plain convolutions "  # others, such as CoordConv layers, are not converted
    if is_vector(output):
        chosen = _unique([names[plain[0]], names[plain[-1]]])
        return Placement(chosen, f"{of}the first, and the last before the pool", seeing)
    wide = [module for module in plain if max(module.kernel_size) > 1] or plain
    reason = f"{of}the first, and the last that sees a neighbourhood"
    return Placement(_unique([names[plain[0]], names[wide[-1]]]), reason, seeing)


def _firsts(convolutions: list[nn.Conv2d], names: dict[nn.Module, str]) -> list[nn.Conv2d]:
    """Return the first convolution of each head: of the modules up to the innermost one with "head" in its name."""
    seen: dict[str, nn.Conv2d] = {}
    for module in convolutions:
        before, head, after = names[module].rpartition("head")
        seen.setdefault(f"{before}{head}{after.partition('.')[0]}", module)
    return list(seen.values())


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
