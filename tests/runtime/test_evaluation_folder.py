"""Tests that evaluations never write into the folder of a fit, and load the checkpoint in the folder that they name."""

import pytest

from tests.runtime.runs import RUN, SMALL, TWO


def content(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_evaluations_with_the_config_of_a_run_write_beside_it(cli, caplog):
    run = cli("fit", *SMALL, *TWO) / RUN / "mine"
    cli("fit", *SMALL, "--trainer.max_steps=1")  # a newer run beside it
    before = content(run)
    for number, command in enumerate(("validate", "test", "predict"), start=1):
        caplog.clear()
        cli(command, "-c", str(run / "config.yaml"), "--ckpt_path", "last")
        said = f"{RUN / 'mine'} is the folder of a fit: this command writes to a new one beside it"
        assert {said, f"--ckpt_path last is {RUN / 'mine' / 'checkpoints' / 'last.ckpt'}"} < set(caplog.messages)
        assert content(run) == before
        assert (run.parent / f"version_{number}").is_dir()


@pytest.mark.slow
def test_a_version_that_is_no_fit_is_kept(cli):
    run = cli("fit", *SMALL, *TWO) / RUN
    for _ in range(2):
        cli("test", *SMALL, "--ckpt_path", str(run / "mine" / "checkpoints" / "last.ckpt"),
            "--trainer.logger.init_args.version=tested")  # fmt: skip
    assert sorted(path.name for path in run.iterdir()) == ["mine", "tested"]
