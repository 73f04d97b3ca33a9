"""Tests of the trained agent in Python: rewards equal those of the test; videos, seeds, and refused checkpoints."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import stable_baselines3
import torch
from PIL import Image

from lightning_coordconv.core.checkpoints import CheckpointError, UntrustedCheckpointError
from lightning_coordconv.rl import A2C, EnvironmentDataModule, SmallCNN, load
from lightning_coordconv.rl.episodes import Episode
from tests.rl.agents import TOUCH, data, trainer
from tests.rl.test_video import frames

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "last.ckpt"
    task = A2C(40, policy_kwargs={"features_extractor_class": SmallCNN})
    run = trainer(path.parent)
    run.fit(task, data(2, frame_stack=2, env_kwargs={"size": 36}))
    run.save_checkpoint(path)
    return path


@pytest.mark.slow
def test_rewards_are_those_of_the_test(trained, tmp_path):
    agent = load(trained, device="cpu")
    environments = data(2, frame_stack=2, env_kwargs={"size": 36}, eval_episodes=4)
    (result,) = trainer(tmp_path).test(agent.task, environments, verbose=False)
    found = agent.evaluate(4)
    assert found.mean == pytest.approx(result["test/reward"])
    assert found.deviation == pytest.approx(result["test/reward_std"])
    assert np.mean(found.lengths) == pytest.approx(result["test/episode_length"])
    assert agent.evaluate(4) == found
    assert agent.evaluate(4, seed=7) != found


def test_actions_of_single_observations_are_those_of_the_exported_agent(trained, tmp_path):
    """Of one or several observations, with channels first, as the policy sees them, or last, as the environment has."""
    agent = load(trained, device="cpu")
    agent.export(tmp_path / "agent.zip")
    plain = stable_baselines3.A2C.load(tmp_path / "agent.zip", device="cpu")
    space = agent.task.policy.observation_space
    space.seed(0)
    several = np.stack([space.sample() for _ in range(16)])

    def choose(agent, observations, **options):
        torch.manual_seed(0)  # of the actions that are drawn
        return np.asarray(agent.predict(observations, **options)).tolist()

    torch.manual_seed(0)
    expected = plain.predict(several)[0].tolist()
    assert len(set(expected)) > 1
    assert choose(agent, several) == choose(agent, several, deterministic=False) == expected
    single = several[5]
    for deterministic in (True, False):
        for observation in (single, single.transpose(1, 2, 0)):
            found = choose(agent, observation, deterministic=deterministic)
            torch.manual_seed(0)
            assert found == plain.predict(single, deterministic=deterministic)[0]
    with pytest.raises(ValueError, match="observation shape"):
        agent.predict(several[0, :, 1:])


def test_random_states_of_the_program_are_kept(trained):
    agent = load(trained)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    agent.evaluate(1)
    agent.play(5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shared", [True, False])
def test_threads_play_what_one_thread_plays(trained, shared):
    """With one agent for all, or an agent each: the generators of the process are common to all threads."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    agents = [load(trained, device="cpu")] * 4 if shared else [load(trained, device="cpu") for _ in range(4)]

    def play(seed):
        if seed == 3:
            return agents[seed].play(max_steps=6, seed=seed).frames.tobytes()
        return agents[seed].evaluate(1, seed=seed)

    expected = [play(seed) for seed in range(4)]
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(play, range(4))) == expected
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.slow
def test_an_episode_is_filmed(trained, tmp_path):
    agent = load(trained)
    episode = agent.play(max_steps=6, seed=1)
    assert episode.frames.shape == (len(episode), 288, 288, 3)
    assert episode.fps == 10  # of the environment
    assert repr(episode) == f"{len(episode)} frames, reward {episode.reward:g}"
    assert np.array_equal(agent.play(max_steps=6, seed=1).frames, episode.frames)
    seen = frames(episode.save(tmp_path / "new" / "agent.mp4"))
    assert len(seen) == len(episode)
    assert np.abs(seen.astype(float) - episode.frames).mean() < 10
    with Image.open(episode.save(tmp_path / "agent.gif")) as saved:
        assert saved.size == (288, 288)
    with Image.open(episode.save(tmp_path / "agent.png")) as saved:
        assert saved.size == episode.plot().size
    assert (agent.play(max_steps=2, saliency=True).frames[0] != agent.play(max_steps=2).frames[0]).any()
    (tmp_path / "file").write_text("x")
    for name in ("agent.mp4", "agent.gif", "agent.png"):
        with pytest.raises(OSError, match=f"{name} cannot be written: "):
            episode.save(tmp_path / "file" / name)


@pytest.mark.parametrize("other", [{"frame_stack": 1}, {"env_id": "CartPole-v1"}])
def test_environments_of_other_spaces_are_refused(trained, tmp_path, other):
    environments = {"env_id": TOUCH, "frame_stack": 2} | other
    agent = load(trained, device="cpu", data=EnvironmentDataModule(**environments))
    for use in (agent.evaluate, agent.play, lambda: agent.export(tmp_path / "agent.zip")):
        with pytest.raises(
            ValueError, match=r"policy is for Box\(0, 255, \(6, 36, 36\), uint8\), but the environment's"
        ):
            use()


@pytest.mark.slow
@pytest.mark.parametrize(("fps", "milliseconds"), [(7, 140), (30, 30), (60, 20), (500, 20)])
def test_an_animation_is_not_slowed_down_by_browsers(fps, milliseconds, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 120, 120, 3), np.uint8)
    with Image.open(Episode(frames, 0.0, fps).save(tmp_path / "agent.gif")) as saved:
        assert saved.info["duration"] == milliseconds


def test_a_module_that_a_checkpoint_names_is_not_imported(trained, tmp_path):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["inference"]["environment"]["env_id"] = "this:Env-v0"
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    with pytest.raises(UntrustedCheckpointError, match=r"foreign.ckpt: the environment 'this:Env-v0' is in a module"):
        load(tmp_path / "foreign.ckpt")
    checkpoint["inference"]["environment"]["env_id"] = f"gymnasium:{TOUCH}"
    torch.save(checkpoint, tmp_path / "known.ckpt")
    assert load(tmp_path / "known.ckpt").data.spec.id == TOUCH


WRONG = {
    "unknown environment": {"env_id": "Nowhere-v0"},
    "unknown argument": {"env_id": TOUCH, "downloads": True},
    "argument out of range": {"env_id": TOUCH, "frame_stack": 0},
    "no dict": 3,
}


def test_an_exported_agent_names_the_packages_that_it_needs(trained, tmp_path, caplog):
    with caplog.at_level("INFO"):
        load(trained, device="cpu").export(tmp_path / "agent.zip")
    assert f"a program that reads {tmp_path / 'agent.zip'} needs lightning_coordconv installed" in caplog.text


@pytest.mark.parametrize("environment", WRONG.values(), ids=WRONG)
def test_environments_that_cannot_be_made_are_named(trained, tmp_path, environment):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["inference"]["environment"] = environment
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    with pytest.raises(CheckpointError, match="the environment of the checkpoint"):
        load(tmp_path / "wrong.ckpt")


def test_a_file_for_stable_baselines3_is_not_loaded(trained, tmp_path):
    load(trained, device="cpu").export(tmp_path / "agent.zip")
    with pytest.raises(CheckpointError, match=r"agent\.zip is no checkpoint but a file for Stable-Baselines3"):
        load(tmp_path / "agent.zip")


@pytest.mark.slow
def test_an_older_checkpoint_needs_its_environments(trained, tmp_path):
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint["inference"]
    checkpoint["hyper_parameters"]["_class_path"] = "lightning_coordconv.rl.A2C"
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(CheckpointError, match=r"does not describe its environments.*data=EnvironmentDataModule"):
        load(tmp_path / "old.ckpt")
    environments = EnvironmentDataModule(TOUCH, frame_stack=2, env_kwargs={"size": 36}, seed=3)
    assert load(tmp_path / "old.ckpt", data=environments).evaluate(2) == load(trained).evaluate(2)


def test_numbers_out_of_range_are_named(trained):
    agent = load(trained)
    for call in (lambda: agent.evaluate(0), lambda: agent.evaluate(1, seed=-1), lambda: agent.play(0)):
        with pytest.raises(ValueError, match="must be at least"):
            call()


def test_arguments_that_are_no_plain_data_are_not_saved():
    environments = EnvironmentDataModule("CartPole-v1", env_kwargs={"sutton_barto_reward": np.array(True)})
    assert environments.describe() == {}
    numbers = EnvironmentDataModule("CartPole-v1", env_kwargs={"sutton_barto_reward": np.bool_(True)})
    assert numbers.describe()["environment"]["env_kwargs"]["sutton_barto_reward"] is True
    assert EnvironmentDataModule("CartPole-v1").describe()["environment"]["env_id"] == "CartPole-v1"
