"""Class that splits files into train, val and test at random or as in a checkpoint; function that reads its splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Generator, randperm

from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.counts import first_names, listed

PARTS = ("train", "val", "test")
"""Number of files that a message names."""


class RandomSplit:
    """Divides the files of a folder at random, the same for the same files and seed.

    The names of the files of each part are the state of the split, which checkpoints hold. A run that resumes, and a
    test of its checkpoint, have the split of the run: with another file in the folder, the seed would draw another one,
    and validate on images that the network was trained on.

    Args:
        seed: fixes what is drawn; not negative.

    Attributes:
        names: of the files of each part; empty until something is divided.
        kind: what the files are, in the plural.
        strict: whether files of a restored split that are missing are refused; otherwise all are divided anew.
        pending: whether a split was restored since the files were divided, which then have another one.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.names: dict[str, list[str]] = {}
        self.kind = "files"
        self.restored: dict[str, list[str]] = {}
        self.strict = True
        self.pending = False

    def divide(
        self, names: Sequence[str], folder: Path, kind: str, held_out: int | None = None
    ) -> Mapping[str, list[str]]:
        """Return the names of each part, ``train``, ``val`` and ``test``, sorted.

        Args:
            names: of all files, in an order that depends on nothing but them.
            folder: where they are.
            kind: what they are, in the plural, for messages.
            held_out: how many are for validation, and how many for the test; by default a tenth each, at least one.

        Raises:
            ValueError: if there are too few of them, or files of the split of a checkpoint are missing.
        """
        self.kind = kind
        self.pending = False
        if not self._matches(names, folder, kind):
            count = len(names)
            size = max(1, count // 10) if held_out is None else held_out
            if count <= 2 * size:
                raise ValueError(
                    f"{folder} has too few {kind}, {count}, to hold out {size} for validation and as many for the "
                    f"test: at most {(count - 1) // 2} can be held out"
                )
            order = randperm(count, generator=Generator().manual_seed(self.seed)).tolist()
            parts = {"val": order[:size], "test": order[size : 2 * size], "train": order[2 * size :]}
            self.names = {part: [str(names[number]) for number in sorted(parts[part])] for part in PARTS}
        elif held_out is not None and len(self.names["val"]) != held_out:
            rank_zero_info(
                f"The checkpoint holds out {len(self.names['val'])} {kind} for validation, and not {held_out}: its "
                "split is kept."
            )
        return self.names

    def state_dict(self) -> dict[str, list[str]]:
        """Return the names of each part; an empty dict if nothing was divided."""
        return dict(self.names)

    def load_state_dict(self, state: Any) -> bool:
        """Take over the split of a checkpoint, and return whether files have to be divided again.

        Raises:
            CheckpointError: if it is no split: each part has names, and no name is in two parts or twice in one.
        """
        lists: list[Any] = list(state.values()) if isinstance(state, Mapping) and set(state) == set(PARTS) else [None]
        if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in lists):
            raise CheckpointError(f"the split of the checkpoint must have lists of names for {', '.join(PARTS)}")
        names = [name for part in lists for name in part]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice or not all(lists):
            reason = f"has names more than once: {first_names(twice)}" if twice else "has a part without a name"
            raise CheckpointError(f"the split of the checkpoint {reason}")
        self.restored = {part: list(state[part]) for part in PARTS}
        self.pending = self.restored != self.names
        return self.pending

    def _matches(self, names: Sequence[str], folder: Path, kind: str) -> bool:
        """Take the split of a checkpoint, if there is one and the files are those that it divides."""
        present, divided = set(names), {name for part in self.restored.values() for name in part}
        if not present & divided:
            if divided:
                rank_zero_info(
                    f"The checkpoint was trained on other {kind} than those in {folder}: they are divided anew."
                )
            return False
        missing = sorted(divided - present)
        if missing and not self.strict:
            rank_zero_warn(
                f"{folder} lacks {len(missing)} of the {len(divided)} {kind} that the network was trained or tested "
                "on: they are divided anew, so that a test can have some that it was trained on"
            )
            return False
        if missing:
            raise ValueError(
                f"{folder} lacks {len(missing)} of the {len(divided)} {kind} that the checkpoint was trained or tested "
                f"on: {first_names(missing)}; give a folder that has them, or begin a run without the checkpoint"
            )
        added = sorted(present - divided)
        if added:
            left_out = f"{kind} of {folder} that the split of the checkpoint does not have"
            rank_zero_info(f"Left out {listed(left_out, added)}.")
        if self.names not in ({}, self.restored):
            rank_zero_info(f"The {kind} in {folder} are divided as they were in training.")
        self.names = self.restored
        return True


def splits_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what data modules wrote to a checkpoint about their splits, by the names of their classes."""
    keys = {"split", "split_seed"}
    return {name: state for name, state in checkpoint.items() if isinstance(state, dict) and 0 < len(state) <= 2 and
            state.keys() <= keys}  # fmt: skip
