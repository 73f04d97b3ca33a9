"""Functions that find the files of the trained weights that ship with the package, by their names."""

from pathlib import Path
from typing import TypeVar

from pytorch_lightning.utilities import rank_zero_info

PACKAGE = Path(__file__).parents[1]
SourceT = TypeVar("SourceT")


def shipped_weights() -> dict[str, Path]:
    """Return the files of the trained weights in this package, by name.

    ``python -m benchmarks.weights`` trains and writes them.
    """
    return {path.stem: path for path in sorted(PACKAGE.glob("*/weights/*.ckpt"))}


def find_weights(source: SourceT) -> SourceT | Path:
    """Return the file of shipped weights for their name; anything else is returned as it is.

    Args:
        source: a string without a suffix and without a folder is a name if there are weights of that name, else a file;
            ``"./painter"`` and ``Path("painter")`` are files.

    Raises:
        FileNotFoundError: for an unknown name, with the names that are known.

    Example:
        >>> find_weights("painter").name
        'painter.ckpt'
        >>> find_weights("logs/last.ckpt")
        'logs/last.ckpt'
    """
    if not isinstance(source, str) or Path(source).name != source or Path(source).suffix:
        return source
    known = shipped_weights()
    if source in known:
        if Path(source).exists():
            rank_zero_info(f"{source} is the name of weights in this package, not the file in this folder, ./{source}")
        return known[source]
    if Path(source).exists():
        return source
    raise FileNotFoundError(
        f"no checkpoint at {source}, and no weights of that name in this package, which has {', '.join(known)}"
    )
