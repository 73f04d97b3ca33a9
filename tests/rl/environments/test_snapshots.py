"""Tests of snapshots of environments: equal steps once restored, attributes restored or refused, no foreign classes."""

import pytest

from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from tests.rl.environments import closures
from tests.rl.environments.python_environments import RESTORED, Containers, Cycle, EnumAttribute, View, forget
from tests.rl.environments.refused_environments import REFUSED, WHERE
from tests.rl.environments.snapshotted import play, register, same, through_a_file, vector


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "backend", "steps"),
    [
        ("lightning_coordconv/FindAndTouch-v0", "sb3", 80),
        ("CartPole-v1", "sb3", 80),
        pytest.param("BreakoutNoFrameskip-v4", "sb3", 40, marks=pytest.mark.slow),
        ("BreakoutNoFrameskip-v4", "lean", 40),
    ],
)
def test_the_future_is_the_same(env_id, backend, steps):
    env, other = vector(env_id, backend), vector(env_id, backend)
    env.action_space.seed(0)
    env.seed(1)
    env.reset()
    play(env, 25)
    other.reset()
    restore(other, through_a_file(snapshot(env)))
    env.action_space.seed(1)
    expected = play(env, steps)
    assert any(step[2].any() for step in expected)  # an end, after which there is a reset
    other.action_space.seed(1)
    same(play(other, steps), expected)


def test_without_a_snapshot_the_future_differs():
    env, other = vector("CartPole-v1"), vector("CartPole-v1")
    for each in (env, other):
        each.reset()
        each.action_space.seed(0)
    with pytest.raises(AssertionError):
        same(play(env, 3), play(other, 3))


@pytest.mark.parametrize("kind", [*RESTORED, closures.ClosureState], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_every_kind_of_attribute_is_restored(kind, steps):
    forget()
    closures.forget()
    one = register(kind)
    one.reset()
    for _ in range(steps):
        one.step([0, 1])
    state = through_a_file(snapshot(one))
    expected = [one.step([1, 0])[0].tolist() for _ in range(6)]
    forget()
    closures.forget()
    other = register(kind)
    other.reset()
    if steps == 5:
        other.step([0, 0])  # of another age
    restore(other, state)
    assert [other.step([1, 0])[0].tolist() for _ in range(6)] == expected
    assert len(set(map(str, expected))) > 1 or kind is EnumAttribute


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_cannot_be_restored_is_refused(kind):
    env = register(kind)
    env.reset()
    with pytest.raises(NoSnapshotError, match=WHERE.get(kind, kind.__name__)):
        snapshot(env)
    env.close()


def test_other_environments_refuse_a_snapshot():
    env = register(Cycle)
    env.reset()
    state = snapshot(env)
    for kind in (Containers, View):
        other = register(kind)
        other.reset()
        with pytest.raises(NoSnapshotError):
            restore(other, state)


@pytest.mark.slow
def test_emulators_in_threads_have_no_snapshot():
    env = vector("PongNoFrameskip-v4", "ale")
    with pytest.raises(NoSnapshotError, match="AleVecEnv does not give access to the state"):
        snapshot(env)
    env.close()


def test_a_snapshot_names_no_foreign_classes():
    """A class in another package is neither looked up nor imported nor made."""
    env = register(Cycle)
    env.reset()
    state = snapshot(env)
    for node in state["nodes"]:
        if node.get("class", "").endswith("Enemy"):
            node["class"] = "subprocess.Popen"
    other = register(Cycle)
    other.reset()
    with pytest.raises(NoSnapshotError, match=r"the class subprocess\.Popen is not one of these environments'"):
        restore(other, state)
