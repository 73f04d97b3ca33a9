"""An environment for tests of snapshots whose state is in variables of functions around its functions."""

import functools

from tests.rl.environments.python_environments import Base


def rising(start):
    value = start

    def following():
        nonlocal value
        value += 1
        return value

    return following


FIRST, SECOND = rising(0), rising(100)


def weighted(method):
    factor, calls = 1, []

    @functools.wraps(method)
    def wrapper(self):
        nonlocal factor
        factor += 1
        calls.append(factor)
        return factor * len(calls) + method(self)

    return wrapper


class ClosureState(Base):
    @weighted
    def move(self):
        return FIRST() + 3 * SECOND()


def forget():
    """Set these variables back, as a new process would have them."""
    for function, *values in ((FIRST, 0), (SECOND, 100), (vars(ClosureState)["move"], [], 1, None)):
        for cell, value in zip(function.__closure__, values, strict=True):  # in the order of the names
            cell.cell_contents = cell.cell_contents if value is None else value
