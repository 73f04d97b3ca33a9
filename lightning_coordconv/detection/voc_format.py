"""Class that reads boxes, classes and splits in the format of Pascal VOC: one XML file for each image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_coordconv.core.arguments import check_printable
from lightning_coordconv.core.image_search import find_files
from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.parsing import parse_number
from lightning_coordconv.core.splits import RandomSplit
from lightning_coordconv.core.survey import Refuse, raise_refused
from lightning_coordconv.detection.annotations import Annotations, read_lines, remark
from lightning_coordconv.detection.orientation import are_turned

FOLDERS = {"annotations": ("Annotations", "annotations"), "images": ("JPEGImages", "images")}
EDGES = ("xmin", "ymin", "xmax", "ymax")
SPLITS = ("train", "val", "test")
NOT_VOC = "XML files that are not in VOC's format"
"""Kind of the files that are refused."""


class VocFolder:
    """A data set of XML files in ``Annotations`` and images in ``JPEGImages`` (or ``annotations`` and ``images``).

    The splits are the lists ``ImageSets/Main/{train,val}.txt`` and perhaps ``test.txt``, of the names of XML files
    without suffix. Without these lists images are split by chance, 80, 10 and 10 %, in the same way for the same seed.

    The classes are the sorted names of all objects of all files. Pixels are counted from 1, and a box includes those of
    both of its edges, as in VOC's development kit: ``xmin`` and ``ymin`` become smaller by 1. Objects that are marked
    as ``difficult`` are treated as COCO's crowds: left out of training, and ignored by evaluation. Whether boxes are
    drawn on stored images, or on those turned by EXIF, is decided for all files by the sizes that they give; see
    :func:`~lightning_coordconv.detection.orientation.are_turned`.

    Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc. globox converts such files too, but knows neither
    lists of splits nor ``difficult``, and its errors name no file.

    Args:
        path: the folder.
        split: divides the images, if there are no lists; by default with the seed 0.
        refuse: receives each file and object that is not in VOC's format, which is left out if it returns.

    Attributes:
        splits: names of the XML files, without suffix, of each split.
        upright: whether boxes are drawn on images turned by EXIF.

    Raises:
        FileNotFoundError: if a folder is missing or empty, or a list names a file that does not exist.
        ValueError: for the first file or object that is not in VOC's format, and if there are too few for three splits.
    """

    def __init__(self, path: Path, split: RandomSplit | None = None, refuse: Refuse = raise_refused) -> None:
        self.path = path
        self.annotations, self.images = (_existing(path, names) for names in FOLDERS.values())
        files = sorted(file for file in find_files(self.annotations) if file.suffix == ".xml")
        if not files:
            raise FileNotFoundError(f"there are no XML files in {self.annotations}")
        self.suffixes: dict[str, list[Path]] = {}
        for file in sorted(find_files(self.images)):
            if file.suffix.lower() in IMG_EXTENSIONS:
                self.suffixes.setdefault(file.stem, []).append(file)
        read = [entry for file in files if (entry := self._read(file, refuse)) is not None]
        self.upright, self.headers = are_turned({path / entry["file_name"]: entry["size"] for entry in read})
        self.entries = {self._name(entry["file"]): entry for entry in read if self._give_size(entry, refuse)}
        self.splits = self._splits(split or RandomSplit())
        names = sorted({row["name"] for entry in self.entries.values() for row in entry["objects"]})
        check_printable(self.path, names)
        self.classes = {name: number for number, name in enumerate(names, start=1)}

    def read(self, split: str, refuse: Refuse = raise_refused) -> Annotations:
        """Return the annotations of a split; paths of images are relative to the folder.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            refuse: see the class; the files have been read already.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        places: dict[int, str] = {}
        for number, name in enumerate(self.splits[split], start=1):
            entry = self.entries.get(name)
            if entry is None:  # its file was refused
                continue
            width, height = entry["size"]
            images.append({"id": number, "file_name": entry["file_name"], "width": width, "height": height})
            for row in entry["objects"]:
                places[len(places) + 1] = row["place"]
                category = {"category_id": self.classes[row["name"]], "iscrowd": row["difficult"]}
                annotations.append({"id": len(places), "image_id": number, "bbox": row["box"], **category})
        categories = [{"id": number, "name": name} for name, number in self.classes.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        full = {annotation["image_id"] for annotation in annotations}
        empty = [image["file_name"] for image in images if image["id"] not in full]
        named = [
            str(entry["file"]) for name in self.splits[split] if (entry := self.entries.get(name)) and entry["other"]
        ]
        from_zero = [places[entry["id"]] for entry in annotations if -1 <= min(entry["bbox"][:2]) < 0]
        remarks = [
            remark("images without an object in their XML file", empty),
            remark("boxes that begin at 0, while VOC counts pixels from 1 (do these files count from 0?)", from_zero),
            remark("XML files that name another image than the one of their name, which is used", named),
            *self.headers,
        ]
        if split == "train":
            remarks.append(remark("split by chance, not by the lists of other names in ImageSets/Main", self.unread))
            remarks.append(remark("left out images without an XML file", self._unused()))
        return Annotations(self.path, content, places, self.upright, [line for line in remarks if line])

    def _unused(self) -> list[str]:
        used = {self.path / entry["file_name"] for entry in self.entries.values()}
        return [str(path) for stem in sorted(self.suffixes) for path in self.suffixes[stem] if path not in used]

    def _name(self, file: Path) -> str:
        return file.relative_to(self.annotations).with_suffix("").as_posix()

    def _splits(self, random: RandomSplit) -> Mapping[str, list[str]]:
        lists = {split: self.path / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
        self.unread: list[str] = []
        if not any(file.is_file() for file in lists.values()):
            self.unread = sorted(file.name for file in (self.path / "ImageSets" / "Main").glob("*.txt"))
            return random.divide(sorted(self.entries), self.annotations, "XML files")
        for split in ("train", "val"):
            if not lists[split].is_file():
                raise FileNotFoundError(f"there is no {lists[split]}, but there are lists of other splits")
        return {split: self._listed(file) for split, file in lists.items() if file.is_file()}

    def _listed(self, file: Path) -> list[str]:
        names = []
        for number, line in enumerate(read_lines(file), start=1):
            if line.strip():
                whole = line.strip().removesuffix(".xml")
                name, flag = [*whole.rsplit(maxsplit=1), ""][:2]
                # lists of one class have -1, 0 or 1 after the name
                candidates = [whole] + ([name.removesuffix(".xml")] if flag in ("-1", "0", "1") else [])
                found = [name for name in candidates if (self.annotations / f"{name}.xml").is_file()]
                if not found:
                    raise FileNotFoundError(f"{file} line {number} names {candidates[-1]}, but there is no "
                                            f"{candidates[-1]}.xml in {self.annotations}")  # fmt: skip
                names.append(found[0])
        return list(dict.fromkeys(names))

    def _read(self, file: Path, refuse: Refuse) -> dict[str, Any] | None:
        """Return image, size (None if it gives none) and objects of an XML file, or None if it was refused."""
        try:
            tree = ElementTree.parse(file).getroot()
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            refuse(NOT_VOC, ValueError(f"{file} is no XML file: {error}"))
            return None
        objects = tree.findall("object")
        if tree.tag != "annotation" or len(objects) < sum(1 for _ in tree.iter("object")):
            refuse(NOT_VOC, ValueError(f"{file} must be an <annotation> that holds each <object>, got <{tree.tag}>"))
            return None
        path, other = self._image(file, tree)
        try:
            width, height = (int(float(tree.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
        except (ValueError, OverflowError):
            width = height = 0
        size = (width, height) if min(width, height) > 0 else None  # some programs write no size, or 0
        rows = []
        for number, node in enumerate(objects, start=1):
            place = f"{file} object {number}"
            try:
                rows.append({"place": place, **_object(node)})
            except ValueError as error:
                refuse("objects that are not in VOC's format", ValueError(f"{place} {error}"))
        name = str(path.relative_to(self.path))
        return {"file": file, "other": other, "file_name": name, "size": size, "objects": rows}

    def _give_size(self, entry: dict[str, Any], refuse: Refuse) -> bool:
        """Give an entry of an XML file without a size that of its image; return False if it was refused."""
        if entry["size"] is None:
            try:
                entry["size"] = read_size(self.path / entry["file_name"], upright=self.upright)
            except OSError as error:
                refuse(NOT_VOC, ValueError(f"{entry['file']} has no size, and {error}"))
                return False
        return True

    def _image(self, file: Path, tree: ElementTree.Element) -> tuple[Path, bool]:
        """Return the image of an XML file, and whether the file names another one that exists.

        It is the one of the same name, or else the one that the file names.
        """
        beside = self.images / file.relative_to(self.annotations).parent
        named = beside / Path((tree.findtext("filename") or f"{file.stem}.jpg").replace("\\", "/")).name
        same = [path for path in self.suffixes.get(file.stem, []) if path.parent == beside]
        path = same[0] if len(same) == 1 or (same and named not in same) else named
        return path, path != named and named in self.suffixes.get(named.stem, [])


def _object(node: ElementTree.Element) -> dict[str, Any]:
    """Return ``name``, ``difficult`` and ``box`` (x, y, width, height) of an object."""
    for key in ("name", "difficult", "bndbox", *(f"bndbox/{edge}" for edge in EDGES)):
        if len(node.findall(key)) > 1:
            raise ValueError(f"has several entries {key}, but it must have one")
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("has no name")
    difficult = (node.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise ValueError(f"has difficult {difficult!r}, but it must be 0 or 1")
    texts = [node.findtext(f"bndbox/{edge}") for edge in EDGES]
    lacking = [edge for edge, text in zip(EDGES, texts, strict=True) if text is None]
    if lacking:
        raise ValueError(f"has no {', '.join(lacking)}")
    try:
        x1, y1, x2, y2 = (parse_number(text or "") for text in texts)
    except ValueError:
        raise ValueError(f"has the box {', '.join(map(repr, texts))}, but it must be four numbers") from None
    width, height = (high - low + (low <= high) for low, high in ((x1, x2), (y1, y2)))  # negative if inverted
    box = [x1 - 1, y1 - 1, width, height]
    return {"name": name, "difficult": int(difficult), "box": box}


def _existing(path: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (path / name).is_dir():
            return path / name
    raise FileNotFoundError(f"there is no folder {path / names[0]}: expected Annotations and JPEGImages in {path}")
