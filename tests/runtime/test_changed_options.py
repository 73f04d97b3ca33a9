"""Tests that a run reports options that differ from its checkpoint's, and refuses another optimiser or schedule."""

import re
from types import SimpleNamespace

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import TrainerFn

from lightning_coordconv.coordinates import NotSoClevrDataModule
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.rl.on_policy import OnPolicyTask
from lightning_coordconv.runtime.callbacks import changed_options

SAVED = {
    "net": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1}},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}},
    "gamma": 2.0,
}


@pytest.fixture
def resume(monkeypatch):
    """Resume with options, and return what was said."""

    def call(given, saved=SAVED, fn=TrainerFn.FITTING, **task):
        said = []
        monkeypatch.setattr(changed_options, "rank_zero_info", said.append)
        trainer = SimpleNamespace(state=SimpleNamespace(fn=fn))
        checkpoint = {} if saved is None else {"hyper_parameters": saved}
        changed_options.ChangedOptions().on_load_checkpoint(trainer, SimpleNamespace(hparams=given, **task), checkpoint)
        return said

    return call


def test_options_that_changed_are_named_with_both_values(resume):
    assert resume(SAVED) == []
    assert resume(SAVED, saved=None) == []
    assert resume(SAVED | {"new": 1}) == []
    assert resume(SAVED | {"size": ((1, 2),)}, SAVED | {"size": [[1, 2]]}) == []
    other_path = {"class_path": "torch.nn.modules.linear.Linear", "init_args": {"in_features": 1}}
    assert resume(SAVED | {"net": other_path}) == []
    assert resume(SAVED | {"gamma": 3.0}) == [
        "options that differ from those of the checkpoint: model.gamma is 3.0, and was 2.0"
    ]


def test_options_that_the_state_replaces_are_said_to_have_no_effect(resume):
    given = SAVED | {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.5}}}
    first, second = resume(given)
    assert "model.optimizer.init_args.lr is 0.5, and was 0.1" in first
    assert "have no effect" in second


def test_a_learning_rate_that_the_task_sets_itself_is_not_said_to_have_no_effect(resume):
    given = {"learning_rate": 0.5, "policy_kwargs": {"optimizer_kwargs": {"eps": 0.5}}}
    saved = {"learning_rate": 0.1, "policy_kwargs": {"optimizer_kwargs": {"eps": 0.1}}}
    scheduled = OnPolicyTask.scheduled_hparams
    assert resume(given, given | {"learning_rate": 0.1}, scheduled_hparams=scheduled)[1:] == []
    (line,) = resume(given, saved, scheduled_hparams=scheduled)[1:]
    assert line.endswith("have no effect (model.policy_kwargs.optimizer_kwargs.eps)")


def resumed(monkeypatch, saved, given, before=None, now=None, fn=TrainerFn.FITTING, data=None):
    """Resume with options of the data and with trainers, and return what was said."""
    said = []
    monkeypatch.setattr(changed_options, "rank_zero_info", said.append)
    callbacks = [changed_options.ChangedOptions(data) for data in (saved, given)]
    for callback, trainer in zip(callbacks, (before, now), strict=True):
        if trainer is not None:
            callback.setup(trainer, SimpleNamespace(), "fit")
    checkpoint = {"callbacks": {callbacks[0].state_key: callbacks[0].state_dict()}}
    trainer = SimpleNamespace(state=SimpleNamespace(fn=fn), datamodule=data)
    callbacks[1].on_load_checkpoint(trainer, SimpleNamespace(hparams={}), checkpoint)
    return said


def test_a_fit_names_options_of_the_data_that_changed(monkeypatch):
    options = ({"partition": "quadrant"}, {"partition": "uniform"})
    assert resumed(monkeypatch, *options, fn=TrainerFn.TESTING) == []
    assert resumed(monkeypatch, *options)[:1] == [
        "options that differ from those of the checkpoint: data.partition is uniform, and was quadrant"
    ]


class Drawn(BaseDataModule):
    """Data of a user's own, drawn from the seed."""


class Divided(BaseDataModule):
    """Data whose held-out samples are those of the checkpoint."""

    seeded_split = True


@pytest.mark.parametrize(("data", "names"), [(Drawn(), True), (Divided(), False), (NotSoClevrDataModule(), False)])
@pytest.mark.parametrize("fn", [TrainerFn.TESTING, TrainerFn.VALIDATING, TrainerFn.PREDICTING])
def test_an_evaluation_names_the_seed_of_data_that_may_be_those_of_training(monkeypatch, data, names, fn):
    line = "options that differ from those of the checkpoint: data.seed is 0, and was 1"
    given = {"batch_size": 2, "seed": 0}, {"batch_size": 1, "seed": 1}
    assert resumed(monkeypatch, given[1], given[0], fn=fn, data=data) == [line] * names
    assert resumed(monkeypatch, given[0], given[0], fn=fn, data=data) == []


@pytest.mark.parametrize("name", ["batch_size", "num_workers", "eval_batch_size"])
def test_a_best_checkpoint_of_the_same_validation_is_not_mentioned(monkeypatch, name):
    assert len(resumed(monkeypatch, {name: 1}, {name: 2})) == 1


def test_a_best_checkpoint_that_was_chosen_on_other_data_is_said_to_count(monkeypatch):
    said = resumed(monkeypatch, {"partition": "quadrant"}, {"partition": "uniform"})
    assert said[1].startswith("the best checkpoint so far was chosen on the data before, and its score still counts")


@pytest.mark.parametrize(
    "option",
    [{"accumulate_grad_batches": 4}, {"gradient_clip_val": 0.5}, {"precision": "bf16-mixed"},
     {"gradient_clip_algorithm": "value", "gradient_clip_val": 1.0}, {"limit_train_batches": 1}],
)  # fmt: skip
def test_a_fit_names_options_of_the_trainer_that_change_its_mathematics(monkeypatch, option):
    default = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 3}
    before, now = Trainer(**default), Trainer(**default | option, max_steps=7)
    first, *others = resumed(monkeypatch, {}, {}, before, now)
    assert not others
    for name in option:
        assert f"trainer.{name} is {option[name]}, and was " in first
    assert first.count("and was") == len(option)
    assert resumed(monkeypatch, {}, {}, before, before) == []


@pytest.mark.parametrize("name", ["optimizer", "lr_scheduler", "generator_optimizer"])
def test_an_optimiser_of_another_class_is_refused(resume, name):
    saved = SAVED | {name: {"class_path": "torch.optim.Adam"}}
    given = SAVED | {name: {"class_path": "torch.optim.SGD"}}
    message = f"model.{name}.class_path is torch.optim.SGD, and was torch.optim.Adam"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        resume(given, saved)
    assert resume(given, saved, fn=TrainerFn.TESTING) == []


def test_an_agent_s_optimiser_of_another_class_is_refused(resume):
    saved, given = ({"policy_kwargs": {"optimizer_class": f"torch.optim.{name}"}} for name in ("RMSprop", "Adam"))
    with pytest.raises(CheckpointError, match=r"optimizer_class is torch\.optim\.Adam, and was torch\.optim\.RMSprop"):
        resume(given, saved)


@pytest.mark.parametrize(("saved", "given"), [("torch.optim.lr_scheduler.StepLR", None), (None, "mine.Schedule")])
def test_a_schedule_that_only_one_of_them_has_is_refused(resume, saved, given):
    """The learning rate would remain where the schedule of the checkpoint left it."""
    options = [SAVED | {"lr_scheduler": name and {"class_path": name}} for name in (given, saved)]
    with pytest.raises(CheckpointError, match=re.escape(f"model.lr_scheduler is {given}, and was {saved}")):
        resume(*options)


@pytest.mark.parametrize("fn", [TrainerFn.VALIDATING, TrainerFn.TESTING, TrainerFn.PREDICTING])
def test_an_evaluation_names_options_of_the_network_and_none_of_the_optimiser(resume, fn):
    """A network with other options can have weights of the same names and shapes, and computes something else."""
    given = {
        "net": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2}},
        "optimizer": {"class_path": "torch.optim.SGD"},
        "lr_scheduler": {"class_path": "mine.Schedule"},
    }
    assert resume(given, SAVED | {"lr_scheduler": None}, fn=fn) == [
        "options that differ from those of the checkpoint: model.net.init_args.in_features is 2, and was 1"
    ]


@pytest.mark.parametrize("fn", [TrainerFn.FITTING, TrainerFn.TESTING])
def test_an_evaluation_names_no_options_that_only_a_fit_uses(resume, fn):
    saved, given = {"total_timesteps": 10, "initial_weights": None}, {"total_timesteps": 20, "initial_weights": "a.zip"}
    assert bool(resume(given, saved, fn=fn)) == (fn == TrainerFn.FITTING)


@pytest.mark.slow
def test_a_run_of_the_command_line_refuses_another_optimiser(cli, capsys):
    run = ("fit", "-c", "classification/digits_coordconv", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu")
    run += ("--trainer.limit_val_batches", "1", "--trainer.val_check_interval", "1", "--figures", "false")
    folder = cli(*run, "--trainer.logger.init_args.version", "first")
    (checkpoint,) = folder.rglob("last.ckpt")
    with pytest.raises(SystemExit, match="cannot continue the optimiser of its checkpoint"):
        cli(*run, "--trainer.max_steps", "2", "--ckpt_path", checkpoint, "--model.optimizer", "torch.optim.SGD")
