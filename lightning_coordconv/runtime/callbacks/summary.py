"""Callback that writes ``summary.json``, a run's description, duration and results, and functions that read it."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only
from torch import Tensor

from lightning_coordconv.core._lightning import logged_step
from lightning_coordconv.core.files import write_text
from lightning_coordconv.core.protocols import TaskOfCallbacks
from lightning_coordconv.runtime.callbacks.progress import steps_done


class RunSummary(Callback):
    """Writes ``summary.json`` beside the logs, and prints at the end where everything is.

    Its fields: ``experiment`` (the logger's name), ``seed``, ``weights`` (the number of trainable ones), ``device``,
    ``threads`` and ``ranks``; ``steps`` of the optimisers; ``seconds`` and ``cpu_seconds`` of training, including
    validation and excluding the start of the program (``cpu_seconds`` counts only this process); ``curve``, for each
    validation one row of ``step`` (of the optimisers), ``logged_step`` (at which loggers have it: the number of the
    batch before it, or what the task logs as ``step``), seconds and metrics; ``best``, whether the ``"min"`` or the
    ``"max"`` of a metric is best, as far as the task says it; ``train``, the metrics of the last
    training epoch, or of its last batch where a task logs batches, as GANs and VAEs do; and ``test``, those of a test
    in the same process, empty if ``limit_test_batches`` is 0. While a finished run trains further, its file has neither
    of these two, and the curve so far. Tables of results are made from these files. A test without training has only
    ``test``, and leaves the file of a fit as it is.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self.started = (0.0, 0.0)
        self.before: dict[str, Any] = {"seconds": 0.0, "cpu_seconds": 0.0, "curve": []}
        self.summary: dict[str, Any] = {}
        self.log_dir: str | None = None
        self.found: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks. If a finished run trains further, its file says so from now on."""
        self.summary = self._begun(trainer, pl_module)
        self.log_dir = trainer.log_dir  # a collective call: the first rank broadcasts it
        self.found = {} if self.log_dir is None else read_fit(Path(self.log_dir))
        self._replace()
        rank_zero_info(f"trainable weights: {self.summary['weights']:,}")
        self.started = (time.perf_counter(), time.process_time())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row to the curve."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._clock(trainer)
            row = {"step": self.summary["steps"], "logged_step": logged_step(trainer)}
            row |= {key: self.summary[key] for key in ("seconds", "cpu_seconds")}
            self.summary["curve"].append(row | _numbers(trainer.callback_metrics, "val/"))
            self.summary["best"] = _best(pl_module, self.summary["curve"])
            self._replace()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clocks and write the file. A finished run that was resumed keeps its metrics of training."""
        for callback in trainer.early_stopping_callbacks:
            if (
                isinstance(callback, EarlyStopping)
                and callback.stopping_reason == EarlyStoppingReason.STOPPING_THRESHOLD
            ):
                value = trainer.callback_metrics[callback.monitor]
                rank_zero_info(f"{callback.monitor} has reached {value:g} after {steps_done(trainer, pl_module)}")
        self._clock(trainer)
        kept = self.found.get("train", {}) if self.found.get("steps") == self.summary["steps"] else {}
        self.summary["train"] = _numbers(trainer.callback_metrics, "train/") or kept
        _flush(trainer)
        self._write(self.log_dir)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the summary of a finished run that was resumed, and so did not train; complete one without a test.

        A run that was killed before it wrote one has what its checkpoint says.
        """
        log_dir = trainer.log_dir
        if not self.summary and log_dir is not None:
            self.summary = {"train": {}} | (read_fit(Path(log_dir)) or self._begun(trainer, pl_module))
        if self.summary and trainer.limit_test_batches == 0:
            self.summary["test"] = {}
            self._write(log_dir)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the metrics of the test, and print where everything is."""
        self.summary["test"] = _numbers(trainer.callback_metrics, "test")
        _flush(trainer)
        log_dir = trainer.log_dir
        if "curve" in self.summary or log_dir is None or not is_of_fit(Path(log_dir)):
            self._write(log_dir)
        self._say(log_dir, steps_done(trainer, pl_module))

    def state_dict(self) -> dict[str, Any]:
        """Return the clocks and the curve."""
        return self._elapsed() | {"curve": self.summary["curve"]} if self.summary else self.before

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the clocks and the curve."""
        self.before = state_dict

    def _begun(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        on_cuda = pl_module.device.type == "cuda"
        return {
            "experiment": trainer.logger.name if trainer.logger else None,
            "seed": self.seed,
            "weights": sum(weight.numel() for weight in pl_module.parameters() if weight.requires_grad),
            "device": torch.cuda.get_device_name(pl_module.device) if on_cuda else pl_module.device.type,
            "threads": torch.get_num_threads(),
            "ranks": trainer.world_size,
            "steps": trainer.global_step,
            **self.before,
            "curve": [*self.before["curve"]],
            "best": _best(pl_module, self.before["curve"]),
        }

    def _clock(self, trainer: Trainer) -> None:
        self.summary |= {"steps": trainer.global_step} | self._elapsed()

    def _elapsed(self) -> dict[str, float]:
        now = time.perf_counter(), time.process_time()
        return {
            key: round(self.before[key] + end - start, 2)
            for key, start, end in zip(("seconds", "cpu_seconds"), self.started, now, strict=True)
        }

    def _replace(self) -> None:
        """Write what is known so far over the results of the training before, which would be taken for those of all."""
        if self.found:
            self._write(self.log_dir)

    @rank_zero_only
    def _write(self, log_dir: str | None) -> None:
        if log_dir is not None:
            write_text(Path(log_dir, "summary.json"), json.dumps(self.summary, indent=1) + "\n")

    @rank_zero_only
    def _say(self, log_dir: str | None, steps: str) -> None:
        for name, value in self.summary["test"].items():
            print(f"{name:24} {value:.4f}")
        if "seconds" in self.summary:
            print(f"{'training':24} {self.summary['seconds']:.1f} s, {steps}")
        print(f"{'logs and figures':24} {log_dir}")


def read_fit(folder: Path) -> dict[str, Any]:
    """Return the summary of a fit in a folder; an empty one if there is none, or one of a test."""
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return summary if "curve" in summary else {}


def is_of_fit(folder: Path) -> bool:
    """Tell whether a folder is that of a fit, finished or not: an evaluation leaves its files as they are."""
    return bool(read_fit(folder)) or any(folder.glob("checkpoints/*.ckpt"))


def _best(pl_module: LightningModule, curve: list[dict[str, Any]]) -> dict[str, str]:
    """Return which end of each metric of a curve is best; those of which the task says nothing are left out."""
    if not isinstance(pl_module, TaskOfCallbacks):
        return {}
    modes = {name: pl_module.best_of(name) for row in curve for name in row if name.startswith("val/")}
    return {name: mode for name, mode in modes.items() if mode is not None}


def _flush(trainer: Trainer) -> None:
    """Write what the loggers hold back: TensorBoard reports a full disk only when it is asked to write."""
    for logger in trainer.loggers:
        flush = getattr(getattr(logger, "experiment", None), "flush", None)
        if flush is not None:
            flush()


def _numbers(metrics: dict[str, Tensor], prefix: str) -> dict[str, float]:
    """Return metrics with six significant digits, for losses can be small."""
    return {name: float(f"{value.item():.6g}") for name, value in metrics.items() if name.startswith(prefix)}
