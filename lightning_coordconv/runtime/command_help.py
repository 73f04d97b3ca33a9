"""Functions that give the help of ``fit``, ``validate``, ``test`` and ``predict`` in the words of this command line.

Lightning takes it from the docstrings of its Trainer: first lines that end within a sentence, and options that mean
something else here.
"""

import re
import textwrap
from typing import Any

from lightning_coordconv.core.help_text import without_long_lists
from lightning_coordconv.runtime.cli import COMMANDS, LIGHTNING

DESCRIPTIONS: dict[str, Any] = {"description": "Train and use convolutions that know where they are."} | {
    name: {"description": f"{command.summary.capitalize()}."}
    for name, command in COMMANDS.items()
    if command.module == LIGHTNING
}
"""Arguments of LightningCLI's parser: its description, and that of each command."""
TITLE = re.compile(r"^.+:\n(?=  --(?:ckpt_path|return_predictions) )", re.MULTILINE)
RESUMED = "checkpoint to resume from: a file, or `last` for the last one in the version of the logger that is chosen"
LOADED = (
    "weights to load: a checkpoint file, `last` or `best` of the newest run of this experiment, the name of weights "
    "that are part of the package, or `none` for those that the task is built with"
)
CHECKPOINT = {
    re.compile(r"(?<=--ckpt_path CKPT_PATH\n)\s+Path/URL of.*?(?=\s+\(type:)", re.DOTALL): RESUMED,
    re.compile(r"(?<=--ckpt_path CKPT_PATH\n)\s+Either ``.*?(?=\s+\(type:)", re.DOTALL): LOADED,
}


def in_own_words(text: str) -> str:
    """Return the help of a command, without long lists of classes, with the meaning of its last options.

    Args:
        text: the help that Lightning writes.
    """
    text = TITLE.sub("Weights and results:\n", without_long_lists(text))
    for pattern, meaning in CHECKPOINT.items():
        text = pattern.sub(textwrap.indent(textwrap.fill(meaning, 54), " " * 24), text)
    return text
