"""Function that draws a confusion matrix as a matplotlib figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor


def draw_confusion(matrix: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: the share of each true class (row) that was predicted as each class (column).

    torchmetrics' plot passes tensors to matplotlib, which numpy 2 warns of, and reads names as formulas.

    Args:
        matrix: counts (C, C), true classes in rows. A class that never occurs has an empty row.
        class_names: by class; numbers if there are not C of them. Up to 30 are shown, and the shares of up to 12.
    """
    matrix = matrix.cpu()
    classes = len(matrix)
    names = list(class_names) if len(class_names) == classes else [str(number) for number in range(classes)]
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
    side = max(4.0, min(10.0, 0.5 * classes + 2))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = range(classes) if classes <= 30 else ()
    axes.set_xticks(shown, [names[number] for number in shown], rotation=45, ha="right", parse_math=False)
    axes.set_yticks(shown, [names[number] for number in shown], parse_math=False)
    if classes <= 12:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"Confusion of {int(matrix.sum()):,} predictions")
    figure.colorbar(drawn, ax=axes, label="share of the true class", shrink=0.8)
    return figure
