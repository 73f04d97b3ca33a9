"""Environments for tests of snapshots whose state cannot be restored: global generators, files, locks, iterators."""

import contextvars
import functools
import os
import random
import secrets
import threading

import numpy as np

from tests.rl.environments.python_environments import Base


class GlobalNumpy(Base):
    def begin(self):
        self.start = np.random.rand()

    def move(self):
        return np.random.rand()


class GlobalPython(Base):
    def begin(self):
        self.rng = random

    def move(self):
        return self.rng.random()


def helper():
    return random.choice([1, 2, 3, 4, 5])


class GlobalInHelper(Base):
    def begin(self):
        pass

    def move(self):
        return helper()


class LocalImport(Base):
    def begin(self):
        pass

    def move(self):
        import random as chance

        return chance.random()


class OpenFile(Base):
    def begin(self):
        self.file = open(__file__)  # noqa: SIM115

    def move(self):
        return len(self.file.readline())

    def close(self):
        self.file.close()


class Iterator(Base):
    def begin(self):
        self.numbers = iter(range(100))

    def move(self):
        return next(self.numbers)


class Lock(Base):
    def begin(self):
        self.lock = threading.Lock()

    def move(self):
        return 0


class ArrayOfObjects(Base):
    def begin(self):
        self.objects = np.array([[1], None], dtype=object)

    def move(self):
        return 0


class SharedBuffer(Base):
    def begin(self):
        self.buffer = bytearray(8)
        self.array = np.frombuffer(self.buffer, np.uint8)

    def move(self):
        self.array[0] += 1
        return self.buffer[0]


LOCAL = threading.local()
CONTEXT = contextvars.ContextVar("count", default=0)


class ThreadLocal(Base):
    def move(self):
        LOCAL.count = getattr(LOCAL, "count", 0) + 1
        return LOCAL.count


class ContextVariable(Base):
    def move(self):
        CONTEXT.set(CONTEXT.get() + 1)
        return CONTEXT.get()


class SystemEntropy(Base):
    def move(self):
        return os.urandom(1)[0]


class Secrets(Base):
    def move(self):
        return secrets.randbelow(3)


@functools.cache
def cached_helper(number):
    return number + np.random.rand()


class GlobalInCachedHelper(Base):
    def move(self):
        return cached_helper(1)


REFUSED = (
    ThreadLocal,
    ContextVariable,
    SystemEntropy,
    Secrets,
    GlobalInCachedHelper,
    GlobalNumpy,
    GlobalPython,
    GlobalInHelper,
    LocalImport,
    OpenFile,
    Iterator,
    Lock,
    ArrayOfObjects,
    SharedBuffer,
)
WHERE = {ThreadLocal: "LOCAL", ContextVariable: "CONTEXT", GlobalInHelper: "helper", GlobalInCachedHelper: "helper"}
"""What the error names, where it is not the environment."""
