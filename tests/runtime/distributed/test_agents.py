"""Tests that agents on two ranks train as in one process, take a preset beside a config, and can be resumed."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.rl.agents import NATURE, checkpoints, cut, same, write
from tests.runtime.distributed import agents_main, ranks
from tests.test_configs import STEPS, smoke

pytestmark = pytest.mark.slow
TWO = "--trainer.strategy=ddp --trainer.devices=2"


def run(devices: int, module: str, folder: Path, *jobs: str) -> None:
    ranks.Ranks(devices, ["-m", module, *" ; ".join(jobs).split()], folder).end_with(0)


def test_two_ranks_follow_one_process(tmp_path):
    """20 updates of A2C with 8 environments: the same experience, and weights equal but for the order of sums."""
    final = {}
    for devices, strategy in ((1, ""), (2, TWO)):
        folder = tmp_path / str(devices)
        folder.mkdir()
        config = write(folder, "A2C", every=20, n_envs=8)
        net = f"--model.policy_kwargs.features_extractor_class={NATURE} --trainer.limit_val_batches=0"
        run(devices, agents_main.__name__, folder, f"fit -c {config} --model.total_timesteps=800 {net} {strategy}")
        (final[devices],) = checkpoints(folder).values()
    for name, weight in final[1]["state_dict"].items():
        torch.testing.assert_close(final[2]["state_dict"][name], weight, rtol=0, atol=1e-4, msg=name)
    (alone,), both = ([rank["rollouts"]["_last_obs"]["numpy.ndarray"] for rank in final[k]["ranks"]] for k in (1, 2))
    assert not torch.equal(*both)
    assert torch.equal(torch.cat(both), alone)


@pytest.mark.parametrize("recipe", ["a2c_pong_coordconv", "ppo_pong_conv"])
def test_the_preset_goes_on_top_of_a_recipe(recipe, tmp_path):
    weights = (f"--trainer.callbacks+={ranks.__name__}.Weights", f"--trainer.callbacks.folder={tmp_path}")
    configs = ("-c", f"rl/{recipe}", "-c", "presets/agents_on_two_cores")
    ranks.Ranks(
        2, ["-m", ranks.__name__, "fit", *configs, *STEPS, *smoke(f"rl/{recipe}"), *weights], tmp_path
    ).end_with(0)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)["weights"] for rank in (0, 1))
    assert same(first, second)
    (config,) = tmp_path.rglob("config.yaml")
    written = yaml.safe_load(config.read_text())
    assert written["model"]["init_args"]["channels_last"] is True
    assert written["trainer"]["precision"] == "bf16-mixed"
    assert "bfloat16 Automatic Mixed Precision" in (tmp_path / "rank0.log").read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Runs of both algorithms on two ranks, their folders, and the optimiser steps to cut them at."""
    folders = {name: (tmp_path_factory.mktemp(name), every) for name, every in (("A2C", 5), ("PPO", 4))}
    jobs = []
    for name, (folder, every) in folders.items():
        kl = "--model.target_kl=1e-6" if name == "PPO" else ""
        weights = f"--trainer.callbacks+={ranks.__name__}.Weights --trainer.callbacks.folder={folder}"
        jobs.append(f"fit -c {write(folder, name, every)} {TWO} {kl} {weights}")
    run(2, ranks.__name__, tmp_path_factory.mktemp("logs"), *jobs)
    return {name: (folder, every, job) for (name, (folder, every)), job in zip(folders.items(), jobs, strict=True)}


@pytest.mark.parametrize("name", ["A2C", "PPO"])
def test_ranks_have_their_own_rollouts_and_the_same_weights(straight, name):
    folder, _, _ = straight[name]
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True)["weights"] for rank in (0, 1))
    assert same(first, second)
    for checkpoint in checkpoints(folder).values():
        mine, others = (rank["rollouts"] for rank in checkpoint["ranks"])
        assert not same(mine["_last_obs"], others["_last_obs"])
        assert not torch.equal(*checkpoint["random_state"]["torch"])


def test_runs_of_two_ranks_can_be_cut_in_two(straight, tmp_path):
    expected = {name: checkpoints(folder) for name, (folder, _, _) in straight.items()}
    jobs = [f"{job} --ckpt_path={cut(folder, every)}" for folder, every, job in straight.values()]
    run(2, ranks.__name__, tmp_path, *jobs)
    for name, (folder, _, _) in straight.items():
        resumed = checkpoints(folder)
        assert sorted(resumed) == sorted(expected[name])[1:] != []
        for step, checkpoint in resumed.items():
            for key in ("state_dict", "optimizer_states", "ranks"):
                assert same(checkpoint[key], expected[name][step][key]), (name, step, key)
