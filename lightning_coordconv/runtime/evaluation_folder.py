"""Function that keeps what ``validate``, ``test`` and ``predict`` write out of the folders of fits."""

from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.runtime.callbacks.summary import is_of_fit
from lightning_coordconv.runtime.weights import KEYWORDS, find_checkpoint


def leave_fits(config: Any) -> None:
    """Let an evaluation whose logger names the folder of a fit write to a new version beside it.

    The ``config.yaml`` of a run whose version was chosen, as by ``sweep``, names its folder. Figures of another
    checkpoint or of other data would replace those of the run there.

    Args:
        config: what the command line parsed for a subcommand other than ``fit``; changed in place. The keywords of
            ``ckpt_path`` become the checkpoint in the folder that was named.
    """
    loggers = config["trainer"]["logger"]
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        arguments = getattr(logger, "init_args", None) or {}
        version = arguments.get("version")
        if version is None or not arguments.get("save_dir"):
            continue
        name = f"version_{version}" if isinstance(version, int) else version
        folder = Path(arguments["save_dir"], arguments.get("name") or "", name)
        if is_of_fit(folder):
            if config.get("ckpt_path") in KEYWORDS:
                config["ckpt_path"] = find_checkpoint(config["ckpt_path"], folder)
            arguments["version"] = None
            rank_zero_info(f"{folder} is the folder of a fit: this command writes to a new one beside it")
