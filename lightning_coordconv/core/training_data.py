"""Functions that keep classes, preprocessing and split of training data in a task, and compare or split later data."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.description import UNDESCRIBED
from lightning_coordconv.core.protocols import TaskOfTraining


def teach(data: Any) -> None:
    """Let the task of a data module's trainer remember these data; compare them with those of a run that resumes.

    Args:
        data: a :class:`~lightning_coordconv.core.BaseDataModule`. Without a trainer nothing happens.
    """
    task = getattr(data.trainer, "lightning_module", None)
    if isinstance(task, TaskOfTraining):
        data.compare_description(task.inference if data.trainer.ckpt_path else {})
        name, now = type(data).__qualname__, data.state_dict()
        before = task.splits.get(name, {})
        _report_trained(before, now)
        task.inference, task.splits = data.describe(), {**task.splits, name: now or before}


def report_kept(task: TaskOfTraining, data: Any) -> None:
    """Log what a task that is trained further keeps of the data before, as the new ones do not describe themselves.

    Args:
        task: that is trained.
        data: a data module that is none of this package, or ``None`` if the trainer was given loaders.
    """
    kept = sorted(task.inference.keys() - {"task", UNDESCRIBED})
    if kept:
        new = "a DataLoader" if data is None else type(data).__qualname__
        rank_zero_info(
            f"The task keeps the {' and '.join(kept)} of the data that it was trained on before, as {new} does not say "
            "its own: if they are others, set task.inference = {} before the fit."
        )


def _report_trained(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Log which files are held out now that the same weights were trained on before."""
    trained = set(before.get("split", {}).get("train", ()))
    for part, name in (("val", "validation"), ("test", "test")):
        files = now.get("split", {}).get(part, ())
        shared = [file for file in files if file in trained]
        if shared:
            rank_zero_info(
                f"The weights were trained before on {len(shared)} of the {len(files)} files of the {name} split, such "
                f"as {shared[0]}: its metrics are too good."
            )
    if before.get("split_seed") != now.get("split_seed") and before:
        rank_zero_info(
            f"The weights were trained before with the samples of seed {before.get('split_seed')} held out, not of "
            f"{now.get('split_seed')}: the metrics of samples that they were trained on are too good."
        )


def recall(data: Any) -> None:
    """Let a data module take over the split that the task was trained on, in an evaluation, and compare the rest.

    A training that begins has the split of the data module's own seed, whatever was evaluated on it before.

    Args:
        data: the same.
    """
    task = getattr(data.trainer, "lightning_module", None)
    if not isinstance(task, TaskOfTraining):
        return
    if data.trainer.state.fn != "fit":
        data.random_split.strict = bool(data.trainer.ckpt_path)
        compare(data, task)
    elif not data.trainer.ckpt_path:
        data.forget_split()


def compare(data: Any, task: TaskOfTraining) -> None:
    """Let a data module take over the split that a task was trained on, and compare the rest."""
    data.compare_description(task.inference)
    known = [kind.__qualname__ for kind in type(data).__mro__ if kind.__qualname__ in task.splits]
    if not known and any(task.splits.values()):
        rank_zero_info(
            f"The network was trained with the data module {', '.join(task.splits)}: {type(data).__qualname__} "
            "does not keep its split, so that a test can have samples that it was trained on."
        )
    data.load_state_dict(task.splits[known[0]] if known else {})
