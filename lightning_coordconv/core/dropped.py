"""Function that logs how many files or entries were left out of the data, and the names of the first."""

from collections.abc import Sequence

from pytorch_lightning.utilities import rank_zero_info


def report_dropped(what: str, names: Sequence[object]) -> None:
    """Log how many things were left out of the data, and the names of the first five.

    Args:
        what: what they are and why they are dropped, in the plural, e.g. ``"files that are no images"``.
        names: how to find each of them. Nothing is logged if there are none.
    """
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        rank_zero_info(f"Dropped {len(names)} {what}: {', '.join(map(str, names[:5]))}{more}.")
