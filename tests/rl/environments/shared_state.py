"""A module that environments for tests of snapshots use, with state in its variables."""

import functools
import random

RANDOM = random.Random(5)
STATE = {"number": 0}
NUMBER = 0
CALLS = []


def counted(method):
    @functools.wraps(method)
    def wrapper(self):
        CALLS.append(1)
        return len(CALLS) + method(self)

    return wrapper
