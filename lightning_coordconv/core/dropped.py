"""Function that logs how many files or entries were left out of the data, and the names of the first."""

from collections.abc import Sequence

from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.counts import listed


def report_dropped(what: str, names: Sequence[object]) -> None:
    """Log how many things were left out of the data, and the names of the first five.

    Args:
        what: what they are and why they are dropped, in the plural, e.g. ``"files that are no images"``.
        names: how to find each of them. Nothing is logged if there are none.
    """
    if names:
        rank_zero_info(f"Unused: {listed(what, names)}.")
