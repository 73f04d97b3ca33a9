"""Tests of snapshots of what environments use outside of them: restored or refused, by kind; and of NumPy's scalars."""

import functools
import types

import numpy as np
import pytest

from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from tests.rl.environments.outside_environments import REFUSED, RESTORED
from tests.rl.environments.python_environments import Base
from tests.rl.environments.snapshotted import register, through_a_file


def moves(env):
    return [env.step([1, 0])[0].tolist() for _ in range(4)]


@pytest.mark.parametrize("kind", RESTORED, ids=lambda kind: kind.__name__)
def test_state_outside_of_an_environment_is_restored(kind):
    env = register(kind)
    env.seed(0)
    env.reset()
    moves(env)
    state = through_a_file(snapshot(env))
    expected = moves(env)
    other = register(kind)
    other.reset()
    restore(other, state)
    assert moves(other) == expected
    assert expected != moves(other)


@pytest.mark.parametrize(("kind", "reason"), REFUSED.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_state_outside_of_an_environment_that_cannot_be_saved_is_refused(kind, reason):
    env = register(kind)
    env.reset()
    with pytest.raises(NoSnapshotError, match=reason):
        snapshot(env)


SCALARS = (
    np.str_("left"), np.str_("zero\0"), np.str_(""), np.bytes_(b"zero\0"), np.bytes_(b""), b"", np.datetime64("NaT"),
    np.datetime64("2020-02-03T04:05"), np.timedelta64(3, "s"), np.longdouble(1) / 3, np.clongdouble(1j) / 3,
    np.float16(0.1), np.uint64(2**64 - 1), np.bool_(True), slice(np.int64(1), None), range(3), 1 + 2j,
)  # fmt: skip


class Holder(Base):
    def move(self):
        return 0


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: type(value).__name__)
def test_a_scalar_is_restored_exactly(value):
    one, other = register(Holder), register(Holder)
    for env in (one, other):
        env.reset()
    one.get_attr("unwrapped")[1].value = value
    restore(other, through_a_file(snapshot(one)))
    found = other.get_attr("unwrapped")[1].value
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    if isinstance(value, np.generic):
        assert found.dtype == value.dtype
        assert found.tobytes() == value.tobytes()
    if isinstance(value, str | bytes):
        assert len(found) == len(value)


class OwnNumber(np.float64):
    """A number with more state than its value."""


class Unfit:
    """Its attributes cannot be read."""

    def __getattribute__(self, name):
        raise ValueError(f"no {name}")


def without_a_value():
    def inner():
        return unset

    if functools is None:
        unset = 1
    return inner


@pytest.mark.parametrize(
    "make", [lambda: OwnNumber(3), lambda: np.void(b"abc"), without_a_value, types.SimpleNamespace, Unfit]
)
def test_an_attribute_that_cannot_be_saved_is_refused_by_its_name(make):
    env = register(Holder)
    env.reset()
    env.get_attr("unwrapped")[0].value = make()
    with pytest.raises(NoSnapshotError, match=r"^Holder\.value: a \S+ cannot be converted to plain data"):
        snapshot(env)
