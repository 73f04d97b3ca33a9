"""Functions that choose the checkpoint to load: a file, shipped weights by name, or ``last``, ``best`` or ``none``.

For ``fit``, ``last`` is the last checkpoint in the run's folder, if there is one. For the other commands, ``last`` and
``best`` are those of the newest run of the experiment, and ``none`` must be typed to evaluate untrained weights.
"""

from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import read_checkpoint
from lightning_coordconv.core.image_search import walk
from lightning_coordconv.core.shipped import find_weights

KEYWORDS = ("last", "best")
"""Names of checkpoints in place of a file."""
LAST = f"{ModelCheckpoint.CHECKPOINT_NAME_LAST}{ModelCheckpoint.FILE_EXTENSION}"


def choose_weights(subcommand: str, given: str | Path | None) -> str | None:
    """Return the file to load, one of the :data:`KEYWORDS`, or ``None`` for the weights that the task is built with.

    Args:
        subcommand: ``fit``, ``validate``, ``test`` or ``predict``.
        given: the option ``--ckpt_path``.

    Raises:
        ValueError: if the command evaluates weights and ``given`` does not say which ones; or if a fit should resume
            from the best weights.
        FileNotFoundError: if it is neither a file nor the name of shipped weights.
    """
    path = None if given is None else str(given)
    if path is None and subcommand != "fit":
        raise ValueError(
            f"{subcommand} needs trained weights: give --ckpt_path last, best or a file, "
            "or --ckpt_path none for the weights that the task is built with"
        )
    if path == "best" and subcommand == "fit":
        raise ValueError("fit resumes from --ckpt_path last or a file, not from best")
    return None if path == "none" else path if path is None or path in KEYWORDS else str(find_weights(path))


def check_version(logger: Any, trainer: Trainer) -> None:
    """Refuse to resume from the last checkpoint of a version that the logger has yet to choose: it is a new run.

    Args:
        logger: the configuration of the logger, or a list of them.
        trainer: has the logger.

    Raises:
        ValueError: naming the newest checkpoint beside the new run, if there is one.
    """
    first = logger[0] if isinstance(logger, list) and logger else logger
    arguments = getattr(first, "init_args", None) or {}
    if "version" not in arguments or arguments["version"] is not None:
        return
    others = _all_last(trainer)
    newest = f" or --ckpt_path {max(others, key=_when_written)}" if others else ""
    raise ValueError(
        "--ckpt_path last resumes the version of the logger that you choose, and without one a new run begins: add "
        f"--trainer.logger.init_args.version NAME{newest}"
    )


def find_newest(keyword: str, trainer: Trainer) -> str:
    """Return the last or the best checkpoint of the logger's version or, if that is new, of the newest run beside it.

    Args:
        keyword: one of the :data:`KEYWORDS`.
        trainer: has the logger.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
    """
    runs = [Path(trainer.log_dir or "", "checkpoints", LAST)]
    if not runs[0].is_file():
        runs = _all_last(trainer)
    if not runs:
        root = getattr(trainer.logger, "root_dir", None) or trainer.log_dir
        raise FileNotFoundError(f"no run with a {LAST} in {root}: give a file as --ckpt_path")
    return find_checkpoint(keyword, max(runs, key=_when_written).parents[1])


def find_checkpoint(keyword: str, folder: Path) -> str:
    """Return the last or the best checkpoint of the run in a folder, and say which file that is.

    Raises:
        FileNotFoundError: if there is no best one.
    """
    path = folder / "checkpoints" / LAST if keyword == "last" else _best(folder / "checkpoints")
    rank_zero_info(f"--ckpt_path {keyword} is {path}")
    return str(path)


def _all_last(trainer: Trainer) -> list[Path]:
    """Return the last checkpoints of all versions of the logger, whose names can be nested folders."""
    root = getattr(trainer.logger, "root_dir", None)
    folders = [] if root is None else [path for path, _, names in walk(Path(root)) if LAST in names]
    return [folder / LAST for folder in folders if folder.name == "checkpoints"]


def _when_written(path: Path) -> tuple[float, Path]:
    """Return when a file was written; of two at the same time the later name, as ``version_1``, is the newer."""
    return path.stat().st_mtime, path


def _best(folder: Path) -> Path:
    """Return the best checkpoint of a run, as its last checkpoint names it."""
    callbacks = read_checkpoint(folder / LAST).get("callbacks", {})
    states = [state for state in callbacks.values() if isinstance(state, dict) and state.get("monitor")]
    for state in states:
        path = folder / Path(str(state.get("best_model_path"))).name
        if path.is_file():
            return path
    raise FileNotFoundError(f"no best checkpoint in {folder}: give --ckpt_path last or a file")
