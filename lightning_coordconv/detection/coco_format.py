"""Functions that read a COCO annotation file, and the rules that its images, boxes and categories must obey."""

import json
import os
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lightning_coordconv.core.arguments import is_printable
from lightning_coordconv.core.survey import Refuse, raise_refused
from lightning_coordconv.detection.annotations import Annotations


class Rule(NamedTuple):
    """What a value must be.

    Attributes:
        holds: whether a value is allowed.
        allowed: what is allowed, in words.
        required: whether every entry has the key.
    """

    holds: Callable[[Any], bool]
    allowed: str
    required: bool = True


def is_integer(value: Any) -> bool:
    """Tell whether a value of a JSON file is a whole number."""
    return type(value) is int  # True is an int to isinstance


def is_number(value: Any) -> bool:
    """Tell whether a value of a JSON file is a number that a float64 holds; it may be infinite or NaN."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def is_text(value: Any) -> bool:
    """Tell whether a value of a JSON file is text that can be written as UTF-8."""
    return isinstance(value, str) and not any(0xD800 <= ord(letter) < 0xE000 for letter in value)  # half a letter


def is_name(value: Any) -> bool:
    """Tell whether a value of a JSON file is a text that a table can show."""
    return is_text(value) and is_printable(value)


INTEGER = Rule(is_integer, "a whole number")
SIDE = Rule(lambda value: is_integer(value) and value > 0, "a positive whole number")
PATH = Rule(lambda value: is_text(value) and bool(value) and "\0" not in value, "a path")
BOX = Rule(
    lambda value: isinstance(value, list) and len(value) == 4 and all(map(is_number, value)),
    "a list of four numbers: x, y, width, height",
)
AREA = Rule(lambda value: is_number(value) and 0 <= value < 2**53, "a number from 0 to 2**53", required=False)
FLAG = Rule(lambda value: is_integer(value) and value in (0, 1), "0 or 1", required=False)
SCHEMA = {
    "images": {"id": INTEGER, "file_name": PATH, "width": SIDE, "height": SIDE},
    "annotations": {
        "id": INTEGER, "image_id": INTEGER, "category_id": INTEGER, "bbox": BOX, "area": AREA, "iscrowd": FLAG,
    },
    "categories": {"id": INTEGER, "name": Rule(is_name, "a text without control characters")},
}  # fmt: skip
"""The lists of an annotation file, and the keys of their entries that are used."""
UNIQUE: dict[str, dict[str, Callable[[Any], Any]]] = {
    "images": {"id": int, "file_name": os.path.normpath},
    "annotations": {"id": int},
    "categories": {"id": int, "name": str},
}
"""Keys whose values no two entries of a list share, and what is compared: ``a.jpg`` and ``./a.jpg`` are one file."""


def read_annotations(path: Path, refuse: Refuse = raise_refused) -> Annotations:
    """Read an annotation file.

    Args:
        path: the JSON file.
        refuse: receives each entry that is not in COCO's format, which is left out if it returns.

    Returns:
        Its ``images``, ``annotations`` and ``categories``, entries as in :data:`SCHEMA`. Boxes may hold infinite values
        and NaN.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, and the entry and key that are wrong, if it is not in COCO's format: a list or key
            is missing, a value has the wrong type, two entries have the same id, two images the same file, two
            categories the same name, or there are no images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation file {path}")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    missing = missing_lists(content)
    if missing:
        raise ValueError(f"{path} is not in COCO's format: it has no list of {', '.join(missing)}")
    parts = {part: _well_formed(path, part, content[part], refuse) for part in SCHEMA}
    if not parts["images"]:
        raise ValueError(f"{path} has no images")
    return Annotations(path, parts)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of the pairs of a JSON object; Python's parser would keep the last value of a repeated key."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice in one object")
    return content


def missing_lists(content: Any) -> list[str]:
    """Return which lists of COCO's format the content of a JSON file does not have."""
    return [part for part in SCHEMA if not isinstance(content, dict) or not isinstance(content.get(part), list)]


def _well_formed(path: Path, part: str, entries: list[Any], refuse: Refuse) -> list[dict[str, Any]]:
    """Return the entries of a list that are in COCO's format."""
    seen: dict[str, set[Any]] = {key: set() for key in UNIQUE[part]}
    found = []
    for number, entry in enumerate(entries):
        reason = _fault(f"{part}[{number}]", entry, SCHEMA[part])
        values = {} if reason else {key: normalise(entry[key]) for key, normalise in UNIQUE[part].items()}
        repeated = next((key for key, value in values.items() if value in seen[key]), None)
        if repeated is not None:
            reason = f"two of its {part} have the same {repeated} {entry[repeated]!r}"
        if reason:
            error = ValueError(f"{path} is not in COCO's format: {reason}")
            refuse(f"{part} that are not in COCO's format", error)
            continue
        for key, value in values.items():
            seen[key].add(value)
        found.append(entry)
    return found


def _fault(name: str, entry: Any, rules: dict[str, Rule]) -> str:
    """Return what is wrong with an entry, or an empty text."""
    lacking = [key for key, rule in rules.items() if rule.required and not (isinstance(entry, dict) and key in entry)]
    if lacking:
        return f"{name} has no {', '.join(lacking)}"
    for key, rule in rules.items():
        if key in entry and not rule.holds(entry[key]):
            whose = f"{name}, with the id {entry['id']}," if key != "id" else name
            return f"{whose} has the {key} {reprlib.repr(entry[key])}, but it must be {rule.allowed}"
    return ""
