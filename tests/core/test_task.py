"""Tests of tasks with one network: compiling, channels-last format, runs after interrupted ones, class names."""

import warnings

import pytest
import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lightning_coordconv.core import BaseDataModule, NetworkTask
from lightning_coordconv.core.checkpoints import CheckpointError, DamagedCheckpointError


class Halving(NetworkTask):
    """Learns to halve numbers."""

    def evaluate(self, batch):
        predicted = self.net(batch["x"]).flatten(1)
        return {"loss": predicted.square().mean(), "preds": predicted, "target": predicted}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"compile": True}, {"channels_last": True}], ids=str)
def test_options_change_neither_names_nor_results(options, monkeypatch):
    compiled = []
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: compiled.append(f) or whole(f, backend="eager"))
    plain, other = Halving(net(), {}), Halving(net(), {}, **options)
    assert len(compiled) == ("compile" in options)
    assert list(plain.state_dict()) == list(other.state_dict())
    x = torch.rand(2, 2, 8, 8)
    torch.testing.assert_close(other(x), plain(x))
    other.load_state_dict(plain.state_dict())
    Halving(net(), {}).load_state_dict(other.state_dict())


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_task_whose_batches_must_not_be_rounded_refuses_half_precision(precision, tmp_path):
    class Exact(Halving):
        half_weights = False

    run = Trainer(precision=precision, accelerator="cpu", logger=False, default_root_dir=tmp_path)
    loader = DataLoader([{"x": torch.zeros(2, 8, 8)}], batch_size=1)
    with pytest.raises(ValueError, match=f"must keep the weights of Exact in full precision.*got '{precision}'"):
        run.validate(Exact(net(), {}), loader)


def test_channels_last_is_the_format_of_weights_and_activations():
    task = Halving(net(), {}, channels_last=True)
    assert task.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    hidden = task.net[0](torch.rand(2, 2, 8, 8))
    assert hidden.is_contiguous(memory_format=torch.channels_last)


class Watched(NetworkTask):
    """Stops where it sees a sample of a value that it is told."""

    stop_at = -1.0

    def evaluate(self, batch):
        if self.stop_at in batch["value"]:
            raise RuntimeError("stopped")
        return {"loss": self.net(batch["value"]).mean(), "preds": batch["value"], "target": torch.ones(1)}


@pytest.mark.parametrize("stage", ["validate", "fit"])
def test_a_run_does_not_count_what_an_interrupted_one_has_seen(tmp_path, stage):
    def run(*values):
        trainer = Trainer(
            default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        samples = DataLoader([{"value": torch.full((1,), value)} for value in values])
        trainer.validate(task, samples) if stage == "validate" else trainer.fit(task, samples, samples)
        return {name: value.item() for name, value in trainer.callback_metrics.items() if name.endswith("seen")}

    task = Watched(nn.Linear(1, 1), {"seen": MeanMetric()})
    task.stop_at = 4.0
    with pytest.raises(RuntimeError, match="stopped"):
        run(8.0, 4.0)
    found = run(1.0, 2.0)
    assert found["val/seen"] == 1.5
    assert found.get("train/seen", 1.5) == 1.5


@pytest.mark.parametrize("missing", ["loss", "preds", "target"])
def test_what_evaluate_leaves_out_is_named(missing):
    class Forgetful(Watched):
        def evaluate(self, batch):
            return {name: value for name, value in super().evaluate(batch).items() if name != missing}

    message = f"evaluate of Forgetful must return loss, preds and target: {missing} is missing"
    with pytest.raises(ValueError, match=message):
        Forgetful(nn.Linear(1, 1), {}).validation_step({"value": torch.zeros(1)}, 0)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.zeros(2, 2, 8, 8), torch.zeros(2)), "a batch of Halving must be a dict, .*, got tuple"),
        (torch.zeros(2, 2, 8, 8), "a batch of Halving must be a dict, .*, got Tensor"),
        ({"y": torch.zeros(2), "z": 3}, "evaluate of Halving reads 'x', but the batch has only y, z"),
    ],
)
@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step"])
def test_what_a_batch_lacks_is_named(batch, message, step):
    with pytest.raises(ValueError, match=message):
        getattr(Halving(net(), {}), step)(batch, 0)


def test_other_keys_that_evaluate_lacks_are_its_own_errors():
    class Wrong(Halving):
        def evaluate(self, batch):
            return {"a": 1}["x"]

    with pytest.raises(KeyError, match="x"):
        Wrong(net(), {}).validation_step({"x": torch.zeros(2)}, 0)


@pytest.mark.parametrize(("mode", "higher"), [("max", False), ("min", True)])
def test_a_mode_that_takes_the_worst_for_the_best_is_refused(mode, higher):
    class Judged(Watched):
        monitor = "val/seen"

    class Seen(MeanMetric):
        higher_is_better = higher

    task = Judged(nn.Linear(1, 1), {"seen": Seen()})
    task.mode = "min" if mode == "max" else "max"
    task.check()
    task.mode = mode
    with pytest.raises(ValueError, match=f"mode of Judged must be .*, since higher_is_better of val/seen is {higher}"):
        task.check()


def test_a_prediction_that_was_interrupted_leaves_no_check_behind(tmp_path):
    class Interrupted(Watched):
        def predict_step(self, batch, batch_idx):
            raise KeyError

    task = Interrupted(nn.Identity(), {"seen": MeanMetric()})
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False)
    samples = DataLoader([{"value": torch.full((1,), torch.inf)}])
    with pytest.raises(KeyError):
        trainer.predict(task, samples)
    (found,) = trainer.validate(task, samples, verbose=False)
    assert found["val/loss"] == torch.inf


class Named(BaseDataModule):
    """Two samples of classes with names."""

    def __init__(self, *names):
        super().__init__(num_workers=0)
        self.class_names = names

    def make_dataset(self, split):
        return [{"value": torch.full((1,), number)} for number in (1.0, 2.0)]


def trainer():
    return Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip


@pytest.mark.parametrize(("known", "here"), [(("cat", "dog"), ("dog", "cat")), (("1", "2"), ("0", "1"))])
def test_a_task_remembers_the_classes_that_it_was_trained_on(known, here):
    task, first = Watched(nn.Linear(1, 1), {"seen": MeanMetric()}), trainer()
    first.fit(task, Named(*known))
    for later in (first, trainer()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            later.test(task, Named(*here), verbose=False)
        said = f"trained with the class_names {list(known)}, but the data have {list(here)}"
        assert any(said in str(warning.message) for warning in caught)
        assert task.describe_data() == {"class_names": list(known)}
    trainer().fit(task, Named(*here))
    assert task.describe_data() == {"class_names": list(here)}


class Unnamed(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Named().make_dataset("train"))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`:UserWarning")
@pytest.mark.parametrize("data", [DataLoader(Named().make_dataset("train")), Unnamed()], ids=["DataLoader", "Unnamed"])
def test_a_task_says_what_it_keeps_when_data_do_not_say_their_classes(data, tmp_path, caplog):
    first, path, kept = trainer(), tmp_path / "last.ckpt", "The task keeps the class_names of the data that it was trai"
    caplog.set_level("INFO")
    first.fit(Watched(nn.Linear(1, 1), {"seen": MeanMetric()}), data)
    first.fit(Watched(nn.Linear(1, 1), {"seen": MeanMetric()}), Named("cat", "dog"))
    first.save_checkpoint(path)
    trainer().fit(Watched(nn.Linear(1, 1), {"seen": MeanMetric()}), data, ckpt_path=path, weights_only=True)
    assert kept not in caplog.text  # fresh tasks, data that say theirs, and a run that resumes
    task = Watched.load_from_checkpoint(path, net=nn.Linear(1, 1), metrics={"seen": MeanMetric()})
    trainer().fit(task, data)
    assert kept in caplog.text
    assert f"{type(data).__name__} does not say its own" in caplog.text
    assert task.describe_data()["class_names"] == ["cat", "dog"]


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_trainer_refuses_the_checkpoint_of_another_task(tmp_path, command):
    first, path = trainer(), tmp_path / "other.ckpt"
    first.fit(Watched(nn.Linear(1, 1), {"seen": MeanMetric()}), Named("cat", "dog"))
    first.save_checkpoint(path)
    with pytest.raises(CheckpointError, match=f"^{path} is a checkpoint of Watched, and Halving is expected"):
        getattr(trainer(), command)(
            Halving(nn.Linear(1, 1), {"seen": MeanMetric()}), Named("cat", "dog"), ckpt_path=path, weights_only=True
        )


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_trainer_refuses_a_damaged_checkpoint(tmp_path, command):
    """Lightning loads one with a flipped bit in a weight."""
    first, path = trainer(), tmp_path / "damaged.ckpt"
    task = Watched(nn.Linear(1, 1), {"seen": MeanMetric()})
    first.fit(task, Named("cat", "dog"))
    first.save_checkpoint(path)
    content, weight = path.read_bytes(), task.net.weight.detach().numpy().tobytes()
    place = content.index(weight) + 3
    path.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
    with pytest.raises(DamagedCheckpointError, match=r"damaged\.ckpt is damaged"):
        getattr(trainer(), command)(task, Named("cat", "dog"), ckpt_path=path, weights_only=True)


@pytest.mark.parametrize("first", [{"size": (3, 4)}, {"source": {"camera": 1, "lens": 2, "roll": 3}}, {}])
def test_the_loss_is_a_mean_over_samples_whatever_comes_first(tmp_path, first):
    """Of a pair, the batch has two tensors, and of a dict one for each key: their number is not the batch size."""

    class Mean(Halving):
        def evaluate(self, batch):
            loss = batch["x"].mean() + 0 * sum(weight.sum() for weight in self.parameters())
            return {"loss": loss, "preds": batch["x"], "target": batch["x"]}

    samples = [first | {"x": torch.tensor(float(number == 4))} for number in range(5)]
    run = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    (result,) = run.test(Mean(net(), {}), DataLoader(samples, batch_size=4), verbose=False)
    assert result["test/loss"] == pytest.approx(1 / 5)
