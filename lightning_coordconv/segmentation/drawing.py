"""Function that draws an image beside its true and its predicted label mask, and one that returns distinct colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from lightning_coordconv.core.pictures import legend_label, show_names

OPACITY = 0.55
"""Of a mask over its image, which is grey there: the colours are those of the legend on objects of any colour."""


def draw_masks(sample: Mapping[str, Any], class_names: Sequence[str], ignore_index: int) -> Figure:
    """Draw an image beside its true mask and its predicted mask, as far as there are any, with a legend.

    Args:
        sample: with ``image`` (3, H, W), or (1, H, W) if it is grey, normalised or not, and perhaps ``mask`` and
            ``predicted`` (H, W).
        class_names: by class.
        ignore_index: value of pixels that are left uncoloured.
    """
    image = _displayed(sample["image"])
    grey = image.mean(-1, keepdims=True)
    titles = {"mask": "truth", "predicted": "prediction"}
    masks = {title: sample[key] for key, title in titles.items() if key in sample}
    figure = Figure(figsize=(4 * (1 + len(masks)), 4), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(masks))
    first.imshow(image)
    first.set_title("image")
    colours, shown = distinct_colours(len(class_names)), set()
    for axes, (title, mask) in zip(others, masks.items(), strict=True):
        known = (mask >= 0) & (mask < len(class_names)) & (sample.get("mask", mask) != ignore_index)
        shown |= set(mask[known].unique().tolist())
        overlay = image.copy()
        overlay[known.numpy()] = OPACITY * colours[mask[known].numpy()] / 255 + (1 - OPACITY) * grey[known.numpy()]
        axes.imshow(overlay)
        axes.set_title(title)
    for axes in (first, *others):
        axes.set_axis_off()
    handles = [Patch(color=colours[number] / 255, label=legend_label(class_names[number])) for number in sorted(shown)]
    show_names(figure.legend(handles=handles, loc="outside lower center", ncols=min(6, max(1, len(handles)))))
    return figure


def _displayed(image: Tensor) -> Any:
    """Return a normalised image (3, H, W) or (1, H, W) as an array (H, W, 3) in [0, 1], whatever its normalisation."""
    low, high = image.amin(), image.amax()
    return ((image - low) / (high - low).clamp(min=1e-6)).expand(3, -1, -1).permute(1, 2, 0).numpy()


def distinct_colours(count: int) -> Any:
    """Return distinct colours (count, 3), uint8: ten dark ones, then ten light ones, and so on."""
    pairs = colormaps["tab20"].colors  # type: ignore[attr-defined]  # of a listed colormap: a dark and a light hue each
    palette = pairs[::2] + pairs[1::2]
    return (np.array([palette[number % len(palette)] for number in range(count)]) * 255).astype(np.uint8)
