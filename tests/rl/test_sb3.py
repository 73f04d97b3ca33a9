"""Tests that Stable-Baselines3's private names exist in the installed release, and that learning makes no folder."""

import inspect
from importlib.metadata import version

import pytest
import stable_baselines3 as sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from lightning_coordconv.rl import _sb3

RELEASE = f"stable_baselines3 {version('stable_baselines3')}"


@pytest.mark.parametrize("kind", [sb3.A2C, sb3.PPO])
def test_private_names_exist(kind):
    missing = [name for name in _sb3.METHODS if not callable(getattr(kind, name, None))]
    assert not missing, f"{RELEASE} has no {', '.join(missing)}: change lightning_coordconv/rl/_sb3.py"
    assert "_init_setup_model" in inspect.signature(kind).parameters, (
        f"{RELEASE} has no argument _init_setup_model: change make_algorithm in lightning_coordconv/rl/_sb3.py"
    )
    algorithm = kind("MlpPolicy", make_vec_env("CartPole-v1", 1))
    _sb3.begin_learning(algorithm, 100)
    names = (*_sb3.COUNTERS, "_current_progress_remaining")
    missing = [name for name in names if not hasattr(algorithm, name)]
    assert not missing, f"{RELEASE} has no attributes {', '.join(missing)}: change lightning_coordconv/rl/_sb3.py"
    for name in ("ep_info_buffer", "rollout_buffer", "num_timesteps", "n_steps"):
        assert hasattr(algorithm, name), f"{RELEASE} has no attribute {name}"


@pytest.mark.parametrize("normalised", [True, False])
def test_private_names_tell_of_normalised_observations(normalised):
    vector = make_vec_env("CartPole-v1", 1)
    algorithm = sb3.A2C("MlpPolicy", VecNormalize(vector) if normalised else vector)
    _sb3.begin_learning(algorithm, 100)
    assert _sb3.had_normalizer(vars(algorithm)) is normalised, f"{RELEASE}: change had_normalizer in rl/_sb3.py"


@pytest.mark.parametrize("verbose", [0, 1])
def test_learning_leaves_no_folder(tmp_path, monkeypatch, verbose):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _sb3.begin_learning(sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1), verbose=verbose), 100)
    assert not list(tmp_path.iterdir())


def test_private_names_of_vectors_exist():
    vector = make_vec_env("CartPole-v1", 3)
    missing = [name for name in (*_sb3.VECTOR_METHODS, "_seeds") if not hasattr(vector, name)]
    assert not missing, f"{RELEASE} has no {', '.join(missing)}: change lightning_coordconv/rl/_sb3.py"
    vector.seed(5)
    assert _sb3.take_seeds(vector) == [5, 6, 7]
    assert _sb3.take_seeds(vector) == [None, None, None]
    assert [list(_sb3.selected(vector, indices)) for indices in (None, 1, [2, 0])] == [[0, 1, 2], [1], [2, 0]]
