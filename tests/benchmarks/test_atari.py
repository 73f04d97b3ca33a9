"""Test that the Atari benchmark starts a run per game, arm and seed, in environments that exist, with given options."""

from benchmarks import atari
from lightning_coordconv.rl.environments.vector import find
from lightning_coordconv.runtime.sweep.processes import processes


def test_every_game_has_both_arms(monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(processes, "call", lambda command, **_: commands.append(command) or 0)
    monkeypatch.setattr("sys.argv", ["atari", "--seeds", "0", "1", "--steps", "100", "--trainer.precision=bf16-mixed"])
    assert atari.main() == 0
    assert len(commands) == 9 * 2 * 2
    for command in commands:
        options = dict(option.removeprefix("--").split("=") for option in command if "=" in option)
        find(options["data.env_id"], "lean", {}, {})
        game = options["data.env_id"].removesuffix("NoFrameskip-v4").lower()
        arm = command[command.index("-c") + 1].rpartition("_")[2].removesuffix(".yaml")
        assert options["trainer.logger.init_args.name"] == f"rl/a2c_{game}_{arm}"
        assert options["model.total_timesteps"] == "100"
        assert options["trainer.precision"] == "bf16-mixed"
    assert "a2c_mspacman_coordconv seed 1: exit 0" in capsys.readouterr().out
