"""Tests of videos of agents: files of a run, saliency against finite differences, overlay, no rendering."""

import csv
import functools
import warnings
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import imageio_ffmpeg
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from gymnasium.wrappers import TransformReward
from stable_baselines3.common.env_util import make_vec_env

import lightning_coordconv.rl.environments  # noqa: F401  # registers the environment
from lightning_coordconv.rl import A2C, AgentVideo, CoordConvNatureCNN, task
from lightning_coordconv.rl.evaluation import play_seeded, seeded
from lightning_coordconv.rl.frames import play_frames
from lightning_coordconv.rl.saliency import overlay, saliency
from tests.rl.agents import TOUCH, data, trainer
from tests.rl.test_evaluation import Mixed

CONFIGS = Path(__file__).parents[2] / "configs" / "rl"
QUICK = ("--data.n_envs=2", "--data.eval_episodes=3", "--model.total_timesteps=40", "--data.rollouts_per_epoch=2",
         "--trainer.enable_progress_bar=false")  # fmt: skip


def frames(path: Path) -> np.ndarray:
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio-ffmpeg leaves pipes open
def test_a_run_is_filmed_and_so_is_a_prediction(cli, tmp_path):
    config = CONFIGS / "find_and_touch_coordconv.yaml"
    video = "--trainer.callbacks.max_steps=12"
    cli("fit", "-c", config, *QUICK, "--trainer.callbacks.every_n_validations=1", video)
    logs = tmp_path / "logs" / "rl" / "find_and_touch_coordconv"
    assert sorted(path.name for path in (logs / "version_0" / "videos").iterdir()) == ["20.mp4", "40.mp4"]
    checkpoint = logs / "version_0" / "checkpoints" / "last.ckpt"
    cli("predict", "-c", config, *QUICK, video, "--trainer.callbacks.saliency=true", "--ckpt_path", checkpoint)
    (path,) = logs.rglob("agent.mp4")
    seen = frames(path)
    assert seen.shape[1:] == (192, 192, 3)
    assert 1 <= len(seen) <= 13
    assert seen.std() > 5
    (table,) = logs.rglob("predictions.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 3
    assert all(float(row["reward"]) <= 0.98 and 1 <= int(row["length"]) <= 50 for row in rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("n_eval_envs", [1, 3, 8])
@pytest.mark.parametrize("stage", ["val", "predict"])
@pytest.mark.parametrize("max_eval_steps", [pytest.param(50, id="whole"), pytest.param(3, id="cut")])
def test_a_video_shows_the_first_of_the_episodes_that_are_evaluated(
    n_eval_envs, stage, max_eval_steps, tmp_path, monkeypatch, caplog
):
    played = []
    monkeypatch.setattr(task, "play_seeded", lambda *args: played.append(play_seeded(*args)) or played[-1])
    environments = data(
        2, n_eval_envs=n_eval_envs, eval_episodes=6, max_eval_steps=max_eval_steps, env_kwargs={"size": 12}
    )
    run = trainer(tmp_path, callbacks=[AgentVideo()], max_steps=4, limit_val_batches=1)
    agent = A2C(20, "MlpPolicy")
    with caplog.at_level("INFO"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* episodes were cut")
        run.fit(agent, environments) if stage == "val" else run.predict(agent, environments)
    (path,) = tmp_path.rglob("*.mp4")
    assert len(frames(path)) == played[0].lengths[0] + 1
    assert f"with the reward {played[0].rewards[0]:g} to {path}" in caplog.text
    assert len(set(played[0].lengths)) > 1 or max_eval_steps == 3


@pytest.mark.parametrize("episodes", [1, 2, 4, 5, 8])
def test_the_environment_that_is_filmed_plays_the_first_of_any_number_of_episodes(episodes):
    env = make_vec_env(TOUCH, 4, env_kwargs={"size": 12, "render_mode": "rgb_array"})
    policy = sb3.A2C("MlpPolicy", env, seed=0).policy
    with seeded(env, 7):
        *_, (_, reward) = play_frames(policy, env, False, 50)
    played = play_seeded(policy, env, episodes, 7, False, 50)
    assert len(played.rewards) == episodes
    assert played.rewards[0] == pytest.approx(reward)


@pytest.mark.parametrize("steps", [1, 3])
def test_an_episode_that_is_cut_has_the_rewards_of_all_its_steps(steps):
    """Those of the environment: a wrapper, as that of Atari games, clips what the agent learns from."""
    clip = functools.partial(TransformReward, func=np.sign)
    env = make_vec_env(TOUCH, 1, seed=0, wrapper_class=clip, env_kwargs={"render_mode": "rgb_array"})
    policy = SimpleNamespace(predict=lambda observations, deterministic: (np.array([0]), None))
    played = list(play_frames(policy, env, True, steps))
    assert len(played) == steps + 1
    assert [reward for _, reward in played] == pytest.approx([-0.02 * step for step in range(steps + 1)])


def test_saliency_is_what_a_change_of_a_pixel_changes():
    """Against finite differences of the action's log-probability, pixel by pixel."""
    policy = sb3.A2C(
        "CnnPolicy", make_vec_env(TOUCH, 1), seed=0, policy_kwargs={"features_extractor_class": CoordConvNatureCNN}
    ).policy
    image = np.random.default_rng(0).integers(50, 200, (1, 3, 36, 36), np.uint8)
    action = np.array([2])
    heat = saliency(policy, image, action).astype(float)
    assert heat.shape == (36, 36)
    assert heat.max() == 255

    def log_prob(pixels):
        with torch.no_grad():
            return policy.evaluate_actions(torch.from_numpy(pixels).float(), torch.from_numpy(action))[1].item()

    rng = np.random.default_rng(1)
    strengths, heats = [], []
    for row, column in rng.integers(36, size=(12, 2)):
        changes = []
        for channel in range(3):
            changed = image.astype(float)
            changed[0, channel, row, column] += 8
            changes.append(abs(log_prob(changed) - log_prob(image.astype(float))))
        strengths.append(max(changes))
        heats.append(heat[row, column])
    below_top = np.array(heats) < 255
    assert np.corrcoef(np.array(strengths)[below_top], np.array(heats)[below_top])[0, 1] > 0.95


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (4,)), spaces.Dict({"image": spaces.Box(0, 255, (3, 36, 36))})])
def test_only_images_have_a_saliency(space):
    with pytest.raises(ValueError, match=r"^saliency needs images \(C, H, W\), but the observations are "):
        next(play_frames(SimpleNamespace(observation_space=space), None, True, 1, with_saliency=True))


def test_overlay():
    frame = np.full((4, 6, 3), (30, 60, 90), np.uint8)
    heat = np.zeros((2, 3), np.uint8)
    heat[0, 0] = 255
    mixed = overlay(frame, heat)
    assert mixed[3, 5].tolist() == [42, 42, 42]
    assert mixed[0, 0].tolist() == [255, 42, 42]


@pytest.mark.parametrize("arguments", [{"max_steps": 0}, {"fps": 0}, {"every_n_validations": -1}])
def test_numbers(arguments):
    (name, value) = next(iter(arguments.items()))
    with pytest.raises(ValueError, match=f"{name} must be at least .* got {value}"):
        AgentVideo(**arguments)


class Unrenderable(Mixed):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        raise OSError("no display")


class Growing(Unrenderable):
    """Its frames grow within an episode, which no video can show."""

    size = 120

    def render(self):
        Growing.size += 2
        return np.zeros((self.size, 120, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
@pytest.mark.parametrize("kind", [Mixed, Unrenderable, Growing])
def test_an_environment_that_cannot_render_is_reported_once(kind, tmp_path):
    name = f"tests/{kind.__name__}-video-v0"
    gymnasium.register(name, kind)
    run = trainer(tmp_path, limit_val_batches=1, callbacks=[AgentVideo()])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(A2C(80, "MultiInputPolicy"), data(2, name))
    said = [str(warning.message) for warning in caught if "no videos are recorded" in str(warning.message)]
    assert len(said) == 1
    assert name in said[0]
    assert run.current_epoch == 2
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_resumed_run_films_the_validations_that_it_would_have_filmed():
    film, resumed = AgentVideo(every_n_validations=10), AgentVideo(every_n_validations=10)
    film.validations = 7
    resumed.load_state_dict(film.state_dict())
    assert resumed.validations == 7
