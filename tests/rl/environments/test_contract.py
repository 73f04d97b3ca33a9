"""Tests that environments' invalid results and spaces are refused, odd action bounds named, last observations kept."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TransformReward

from lightning_coordconv.rl.environments.contract import report_far_actions, report_statistics
from lightning_coordconv.rl.environments.crashes import InvalidEnvironmentError
from lightning_coordconv.rl.environments.vector import find, make

VECTOR = spaces.Box(-1, 1, (2,), np.float32)
OPEN = spaces.Box(-np.inf, np.inf, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (1, 40, 40), np.uint8)
PALETTE = spaces.Box(0, 15, (2,), np.uint8)
BOTH = spaces.Dict({"at": VECTOR, "kind": spaces.Discrete(3)})
NOW: dict[str, object] = {}
"""What the environment of the tests returns, and the step at which it returns something else."""


class Scripted(gym.Env):
    """Returns what a test says."""

    def __init__(self, script=None):
        NOW.update(script or {})  # in a separate process
        self.observation_space = NOW["space"]
        self.action_space = NOW.get("actions", spaces.Discrete(2))
        self.time = 0

    def observation(self):
        return NOW["wrong"] if self.time == NOW["step"] else NOW["right"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return NOW.get("reset", (self.observation(), {}))

    def step(self, action):
        self.time += 1
        late = self.time == NOW["step"]
        reward, terminated, truncated = (NOW.get(name, right) if late else right for name, right in RIGHT.items())
        return self.observation(), reward, terminated, truncated, NOW.get("info", {}) if late else {}


RIGHT = {"reward": 1.0, "terminated": False, "truncated": False}
gym.register("tests/Scripted-v0", Scripted)


def play(space, right, step, n_envs=2, **script):
    """Take three steps in environments of which one or all return something wrong in one of them; 0 is the reset."""
    NOW.clear()
    NOW.update({"space": space, "right": right, "wrong": right, "step": step, **script})
    env = make(find("tests/Scripted-v0", "sb3", {}, {}), n_envs)
    env.reset()
    return [env.step(np.zeros(n_envs, int)) for _ in range(3)]


def refused(space, right, step, match, **script):
    with pytest.raises(InvalidEnvironmentError, match=match) as caught:
        play(space, right, step, **script)
    message = str(caught.value)
    assert "\n" not in message
    assert "tests/Scripted-v0" in message
    assert ("its reset" if step == 0 else f"step {step} of an episode") in message
    return message


ZEROS = np.zeros(2, np.float32)
BLANK = np.zeros((1, 40, 40), np.uint8)
WRONG_OBSERVATIONS = [
    *[(VECTOR, ZEROS, wrong) for wrong in (
        None, "x", np.array([0, np.nan], np.float32), np.array([np.inf, 0], np.float32), np.array([1.5, 0], np.float32),
        np.zeros(3, np.float32), np.zeros((1, 2), np.float32), 0.0, [], [0.0], {"a": 1}, np.zeros(2, complex),
        np.array([None, None]), np.array(["a", "b"]), [0.0, float("nan")], (None, None), object(),
    )],
    *[(OPEN, ZEROS, np.array([0, wrong], np.float32)) for wrong in (np.nan, np.inf, -np.inf)],
    (OPEN, ZEROS, np.array([0, 1e300])),
    *[(IMAGE, BLANK, wrong) for wrong in (
        None, BLANK[0], BLANK.astype(np.float32), BLANK.astype(np.float64), BLANK.astype(np.int64), BLANK[:, :39],
        BLANK.transpose(1, 2, 0), BLANK[None],
    )],
    (PALETTE, np.zeros(2, np.uint8), np.array([0, 16], np.uint8)),
    (IMAGE, BLANK, np.full((1, 40, 40), 256, np.uint16)),  # in 8 bits 0
    (PALETTE, np.zeros(2, np.uint8), np.array([0, 257], np.uint16)),
    *[(spaces.Discrete(3), 0, wrong) for wrong in (3, -1, 1.0, None, "0", float("nan"), np.array([0, 1]), [1])],
    *[(spaces.Discrete(3, start=5), 5, wrong) for wrong in (0, 8, None)],
    *[(spaces.MultiDiscrete([2, 3]), np.array([0, 0]), wrong) for wrong in
      (np.array([0, 3]), np.array([0.5, 1.0]), None, np.array([0]), 1)],
    *[(spaces.MultiBinary(2), np.array([0, 1], np.int8), wrong) for wrong in
      (np.array([0, 2], np.int8), np.array([0.0, 1.0]), None, np.array([1], np.int8))],
    *[(BOTH, {"at": ZEROS, "kind": 0}, wrong) for wrong in (
        {"at": ZEROS}, {"at": ZEROS, "kind": 3}, {"at": ZEROS * np.nan, "kind": 0}, ZEROS, None, (ZEROS, 0),
    )],
]  # fmt: skip


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(("space", "right", "wrong"), WRONG_OBSERVATIONS)
def test_an_observation_outside_of_its_space_is_refused(space, right, wrong, step):
    message = refused(space, right, step, "returned an invalid observation", wrong=wrong)
    inner = space["at"] if isinstance(space, spaces.Dict) else space
    assert str(inner) in message or "Discrete" in message


@pytest.mark.parametrize(
    ("space", "right"),
    [
        (VECTOR, ZEROS.astype(np.float64)),
        (VECTOR, np.array([1 + 1e-9, -1])),  # rounds to the border
        (VECTOR, [0, 0]),
        (VECTOR, (0.5, -0.5)),
        (VECTOR, np.array([1, -1], np.int64)),
        (OPEN, np.array([1e30, -1e30], np.float32)),
        (IMAGE, BLANK + 255),
        (spaces.Discrete(3), np.int64(2)),
        (spaces.Discrete(3, start=-1), np.int64(-1)),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2])),
        (spaces.MultiBinary(2), np.array([1, 0], np.int8)),
        (BOTH, {"at": ZEROS, "kind": 2}),
        (spaces.Box(-np.inf, 0, (2,)), ZEROS),
    ],
)
def test_an_observation_of_its_space_is_not(space, right):
    assert len(play(space, right, 3)) == 3


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("reward", wrong) for wrong in (float("nan"), float("inf"), -float("inf"), None, "1", [1.0], np.array([1.0]),
          np.array(1.0), np.zeros(2), 1e300, 1j, np.float32("nan"), {"r": 1})],
        *[(name, wrong) for name in ("terminated", "truncated")
          for wrong in (None, 0, 1, 1.0, "False", [], np.array([True]), float("nan"))],
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 3])
def test_a_reward_or_an_end_of_another_kind_is_refused(name, wrong, step):
    message = refused(VECTOR, ZEROS, step, f"returned an invalid (value of )?{name}", **{name: wrong})
    assert repr(wrong)[:80] in message


@pytest.mark.parametrize("reward", [1, -2.5, np.float32(1), np.int64(3), True, np.bool_(True), np.float64(3e38)])
@pytest.mark.parametrize("end", [True, np.bool_(True), False, np.bool_(False)])
def test_rewards_and_ends_of_numpy_are_allowed(reward, end):
    _, rewards, ends, _ = play(VECTOR, ZEROS, 2, reward=reward, truncated=end)[1]
    assert np.float32(reward) in rewards
    assert ends.any() == bool(end)


@pytest.mark.parametrize("result", [ZEROS, (ZEROS,), (ZEROS, {}, 1), None])
def test_a_reset_without_a_dict_is_refused(result):
    refused(VECTOR, ZEROS, 0, "invalid result .* a tuple of an observation and a dict is expected", reset=result)


@pytest.mark.parametrize(
    ("kind", "space"),
    [
        ("observation", spaces.Box(0, 1, ())),
        ("observation", spaces.Box(0, 1, (0,))),
        ("observation", spaces.Dict({"a": spaces.Box(0, 1, ()), "b": VECTOR})),
        ("action", spaces.Box(0, 1, ())),
    ],
)
def test_a_space_without_an_axis_or_an_element_is_refused(kind, space):
    script = {"actions": space} if kind == "action" else {}
    with pytest.raises(
        InvalidEnvironmentError, match=rf"tests/Scripted-v0 has the {kind} space Box.*, but its shape is \("
    ):
        play(VECTOR if kind == "action" else space, None, 0, **script)


def test_steps_count_from_each_reset():
    """The second episode, in which the environment fails, has its own count."""
    NOW.clear()
    NOW.update({"space": VECTOR, "right": ZEROS, "wrong": ZEROS, "step": 2, "terminated": True})
    env = make(find("tests/Scripted-v0", "sb3", {}, {}), 1)
    env.reset()
    for _ in range(3):
        env.step(np.zeros(1, int))
    NOW["reward"] = None
    with pytest.raises(InvalidEnvironmentError, match="step 2 of an episode"):
        env.step(np.zeros(1, int))


@pytest.mark.slow
def test_a_process_reports_what_is_wrong():
    script = {"space": VECTOR, "right": ZEROS, "wrong": ZEROS * np.nan, "step": 1}
    env = make(find("tests/Scripted-v0", "subproc", {"script": script}, {}), 2, "subproc")
    env.reset()
    with pytest.raises(InvalidEnvironmentError, match=r"tests/Scripted-v0 .* nan at \[0\]; its space is Box\(-1"):
        env.step(np.zeros(2, int))
    env.close()


@pytest.mark.parametrize("info", [None, [], "won"])
def test_an_info_that_is_no_dict_is_refused(info):
    refused(VECTOR, np.zeros(2, np.float32), 2, r"invalid info in step 2 .*, and a dict is expected", info=info)


def test_an_episode_that_the_environment_reports_itself_is_not_believed():
    """Stable-Baselines3's monitor reports finished episodes under this key."""
    results = play(VECTOR, np.zeros(2, np.float32), 2, info={"episode": {"r": 777.0, "l": 1}, "other": 3})
    assert results[1][3][0]["other"] == 3
    assert all("episode" not in info for result in results for info in result[3])


class Reused(gym.Env):
    """Writes each observation into one array, or dict of arrays, and each info into one dict."""

    def __init__(self, nested=False):
        box = spaces.Box(0, 9, (2,), np.float32)
        self.observation_space = spaces.Dict({"at": box}) if nested else box
        self.action_space = spaces.Discrete(2)
        self.array, self.info = np.zeros(2, np.float32), {}
        self.observation = {"at": self.array} if nested else self.array

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.array[:] = 0
        self.info.clear()
        return self.observation, self.info

    def step(self, action):
        self.array += 1
        return self.observation, 1.0, False, bool(self.array[0] == 3), self.info


gym.register("tests/Reused-v0", Reused)


@pytest.mark.parametrize("nested", [False, True])
def test_the_last_observation_survives_the_reset(nested):
    """The critic is asked for its value where an episode is truncated."""
    env = make(find("tests/Reused-v0", "sb3", {"nested": nested}, {}), 1)
    env.reset()
    results = [env.step(np.zeros(1, int)) for _ in range(6)]
    for number, (_, _, (done,), (info,)) in enumerate(results, start=1):
        assert done == (number % 3 == 0)
        if done:
            last = info["terminal_observation"]
            assert (last["at"] if nested else last).tolist() == [3, 3]
            assert info["TimeLimit.truncated"]
            assert info["episode"]["l"] == 3


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int8])
def test_actions_in_a_box_of_integers_are_refused(dtype):
    space = spaces.Box(0, 5, (2,), dtype)
    with pytest.raises(
        InvalidEnvironmentError, match=r"has the action space Box\(0, 5.*use MultiDiscrete, or a Box of"
    ):
        play(VECTOR, ZEROS, 0, actions=space)


@pytest.mark.parametrize(
    ("low", "high", "far"),
    [
        ([10.0], [20.0], True),
        ([-3.0], [-1.0], True),
        ([-1.0, 5.0], [1.0, 6.0], True),
        ([0.0], [1.0], False),
        ([-2.0], [2.0], False),
    ],
)
def test_actions_on_one_side_of_zero_are_reported(low, high, far, recwarn):
    """A new policy draws actions around 0, and nearly all of them would be the bound."""
    report_far_actions(spaces.Box(np.array(low, np.float32), np.array(high, np.float32)), "Far-v0")
    messages = [str(warning.message) for warning in recwarn]
    assert len(messages) == far
    assert all(message.startswith("the environment Far-v0 has the action space Box(") for message in messages)


@pytest.mark.parametrize("space", [spaces.Discrete(3, start=5), spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3])])
def test_other_actions_are_not(space, recwarn):
    report_far_actions(space, "Near-v0")
    assert not recwarn.list


@pytest.mark.parametrize(("wrapper", "learns"), [
    (NormalizeObservation.wrapper_spec(), True),
    (NormalizeReward.wrapper_spec(), True),
    (TransformReward.wrapper_spec(func=abs), False),
])  # fmt: skip
def test_statistics_that_evaluation_does_not_share_are_reported(wrapper, learns, recwarn):
    spec = replace(gym.spec("CartPole-v1"), additional_wrappers=(wrapper,))
    report_statistics(make(spec, 2), "Scaled-v0")
    found = [str(each.message) for each in recwarn if str(each.message).startswith("the environment Scaled-v0 has the")]
    assert len(found) == learns
