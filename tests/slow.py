"""Function for tests that marks all values of a parameter as slow but those that the fast tests keep."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_except(fast: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Return values of a parameter, all but the fast ones marked as slow: quicker tests of the same thing remain."""
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]
