"""Functions and a class that tell from the colours of a mask's values whether a program renumbered the values."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.counts import count, listed
from lightning_coordconv.core.headers import LOOKED_AT
from lightning_coordconv.core.images import reading
from lightning_coordconv.core.survey import NAMED, spread

BITS = {"1": 1, "L;2": 2, "L;4": 4}
"""Bits a pixel of grey PNG files, by the mode of Pillow's decoder; 8 or 16 with others."""


def colours_of_values(file: Any) -> list[tuple[int, ...]]:
    """Return the red, green and blue of each value of an open mask, from its header; none if it does not say.

    The black colours at the end of a palette are left out: programs fill palettes with them.
    """
    if file.mode == "P" and file.palette is not None:
        rawmode, data = file.palette.getdata()
        pixel = Image.new("P", (1, 1))
        pixel.putpalette(data, rawmode)
        flat = bytes(pixel.getpalette() or ()).rstrip(b"\0")
        return [tuple(flat[start : start + 3].ljust(3, b"\0")) for start in range(0, len(flat), 3)]
    if file.format == "PNG" and file.mode in ("1", "L"):
        most = 2 ** BITS.get(str(file.tile[0].args), 8) - 1
        return [(255 * value // most,) * 3 for value in range(most + 1)]
    return []


def check_greys(path: Path, colours: Sequence[tuple[int, ...]], values: Iterable[int]) -> None:
    """Raise an error if a palette of greys alone gives values of a mask a grey that is another number.

    Raises:
        ValueError: naming the first: a program may have renumbered a grey mask, or the values are the classes.
    """
    if not _are_grey(colours):
        return
    for value in values:
        if value < len(colours) and colours[value][0] != value:
            raise ValueError(
                f"{path} has a palette of greys in which the value {value} is the grey {colours[value][0]}, so either "
                "may be the class: save the mask as a grey PNG, Image.fromarray(numpy.array(mask)) if values are "
                'classes, mask.convert("L") if greys are'
            )


class ColoursOfMasks:
    """The colours that values have in the masks of a data set, by which masks are found that contradict others.

    Programs that compress PNG files or save GIF files drop unused colours and renumber the values of the others. Grey
    masks are compared with each other, and so are colourful ones.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bool, int], tuple[int, ...]] = {}
        self._seen: set[Path] = set()

    def report(self, masks: Sequence[Path]) -> None:
        """Log in which masks a value has another colour than in most of them, or in those of earlier calls.

        Only headers are read, of each file once: those of 10,000 in 3 s. If there are more, these are evenly spread.
        """
        paths: dict[tuple[tuple[int, ...], ...], list[Path]] = {}
        some = [masks[number] for number in spread(len(masks), LOOKED_AT)]
        for mask in (mask for mask in some if mask not in self._seen):
            with suppress(OSError), reading(mask) as file:  # reported where its pixels are read
                paths.setdefault(tuple(colours_of_values(file)), []).append(mask)
        self._seen.update(some)
        contrary: list[Path] = []
        for colours in sorted(paths, key=lambda colours: len(paths[colours]), reverse=True):
            named = {(_are_grey(colours), value): colour for value, colour in enumerate(colours)}
            if any(self._known.get(key, colour) != colour for key, colour in named.items()):
                contrary += paths[colours]
            else:
                self._known |= named
        if contrary:
            kind = "masks in which a value has another colour than in others"
            part = f"{len(some)} of {count(len(masks), 'mask')} were looked at: " if len(some) < len(masks) else ""
            rank_zero_info(
                f"{part}{listed(kind, contrary, NAMED)}; classes are values, not colours: a program that compresses "
                "files may have renumbered them"
            )


def _are_grey(colours: Sequence[tuple[int, ...]]) -> bool:
    return all(red == green == blue for red, green, blue in colours)
