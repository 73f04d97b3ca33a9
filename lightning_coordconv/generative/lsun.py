"""Data set of one category of LSUN, millions of photographs of scenes such as bedrooms, from an LMDB database."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.images import open_image, to_rgb


class LSUNImages(Dataset[dict[str, Any]]):
    """One category of LSUN (Yu et al., 2015); a sample is a dict with ``image``.

    The keys of all images are read from the database when the data set is built, and kept in memory (120 MB for 3
    million bedrooms). Nothing is written. Each process opens the database when it reads its first image.

    Args:
        root: folder that holds ``<category>_<split>_lmdb``.
        category: e.g. ``"bedroom"``, which has 3,033,042 images for training and 300 for validation.
        split: ``"train"`` or ``"val"``.
        transform: maps a PIL image to a tensor.

    Raises:
        FileNotFoundError: if the database does not exist, with how to get it.
        ModuleNotFoundError: if lmdb is not installed.
        OSError: if the database is damaged or empty, or an image is when it is read.
    """

    def __init__(
        self, root: Path, category: str, split: Literal["train", "val"], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self.folder = root / f"{category}_{split}_lmdb"
        if not (self.folder / "data.mdb").is_file():
            raise FileNotFoundError(
                f"there is no database {self.folder}: get download.py of github.com/fyu/lsun, run "
                f"`python download.py -c {category} -o {root}` and unzip the files there"
            )
        self.transform = transform
        with self._reading(), self._open() as database, database.begin() as transaction:
            # an array of bytes: worker processes share its memory, which a list's reference counts would prevent;
            # numpy drops zeros at the end of bytes, so each key gets a last byte that is none
            self.keys = np.array([key + b"." for key in transaction.cursor().iternext(values=False)], dtype=np.bytes_)
        if not len(self.keys):
            raise OSError(f"{self.folder} has no images; get the data again")
        self.opened: tuple[int, Any] | None = None
        """The id of the process that opened the database, and the database."""

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        with self._reading():
            if self.opened is None or self.opened[0] != os.getpid():
                if self.opened is not None:  # inherited by a fork; LMDB forbids to use it here, or to open a second one
                    self.opened[1].close()
                self.opened = os.getpid(), self._open()
            with self.opened[1].begin() as transaction:
                data = transaction.get(bytes(self.keys[index])[:-1])
        try:
            with open_image(io.BytesIO(data)) as file:
                image = to_rgb(file)
        except Exception as error:  # Pillow raises errors of many kinds
            raise OSError(f"image {index} of {self.folder} cannot be read: {error}; get the data again") from error
        return {"image": self.transform(image)}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"opened": None}  # an open database cannot be sent to another process

    def _open(self) -> Any:
        import lmdb

        return lmdb.open(str(self.folder), readonly=True, lock=False, readahead=False, meminit=False)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Return a context whose errors name the database."""
        with extra("lsun", "LSUN databases"):
            import lmdb
        try:
            yield
        except lmdb.Error as error:
            raise OSError(f"{self.folder} cannot be read as an LMDB database: {error}; get the data again") from error
