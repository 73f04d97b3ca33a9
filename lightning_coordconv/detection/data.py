"""Data modules of images with boxes in the formats of COCO (also masks, keypoints), YOLO and VOC, and base classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning.utilities import rank_zero_info
from torch import nn
from torchvision.transforms import v2

from lightning_coordconv.core.data import BaseDataModule, Split
from lightning_coordconv.core.image_search import find_predicted
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.detection.annotations import Annotations, remark
from lightning_coordconv.detection.boxes import Categories, draw_boxes
from lightning_coordconv.detection.coco import CocoDetection, check_categories
from lightning_coordconv.detection.coco_format import read_annotations
from lightning_coordconv.detection.image_files import ImageFiles, Links, Policy, root_of
from lightning_coordconv.detection.orientation import with_orientation
from lightning_coordconv.detection.skeleton import Skeleton
from lightning_coordconv.detection.targets import TargetName
from lightning_coordconv.detection.transform_trial import try_transforms
from lightning_coordconv.detection.voc_format import VocFolder
from lightning_coordconv.detection.yolo_format import YoloFolder


class BoxesDataModule(BaseDataModule):
    """Base of data modules of images with boxes.

    Attributes:
        categories: of the labels, by label.
        skeleton: the keypoints of an object; without names where data have none.
    """

    categories: Categories
    skeleton = Skeleton()
    preprocessing: Preprocessing | None = Preprocessing()

    @property
    def num_classes(self) -> int:
        """Number of classes, with the background, which is class 0."""
        return 1 + max(self.categories, default=0)

    def describe(self) -> dict[str, Any]:
        """Return ``categories``, the id and name of each label from 1 on, ``preprocessing`` and any ``skeleton``."""
        categories = [list(self.categories[label]) for label in sorted(self.categories)]
        skeleton = {"skeleton": self.skeleton.describe()} if self.skeleton.names else {}
        return {**super().describe(), "categories": categories, **skeleton}

    def plot(self, sample: Mapping[str, Any]) -> Figure:
        """Draw one sample."""
        return draw_boxes(sample, self.categories, bones=self.skeleton.bones)


class AnnotatedImagesDataModule(BoxesDataModule):
    """Base of data modules of image files with boxes; a subclass implements :meth:`read` and calls :meth:`prepare`.

    A batch has the keys of a sample, with a list for each, because sizes and numbers differ; see
    :class:`~lightning_coordconv.detection.CocoDetection`. What is dropped, cut or left out is reported.

    Args:
        root: the folder of the data.
        predict_images: a folder of images to make predictions for, or one image, by its path from ``root`` or else from
            the current folder; by default the images of the test split.
        train_transforms: v2 transforms of training images and boxes; by default a horizontal flip of every other one.
        bad_boxes: ``"drop"`` boxes of no area, and report their number and places, or ``"error"``.
        bad_images: ``"error"`` at missing or damaged files, or ``"drop"`` them, and report each.
        links: where images must be, after symbolic links have been followed: ``"inside"`` the folder of their split, or
            ``"anywhere"``.
        batch_size: samples in an optimiser step, over all ranks together.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank; by default the number of CPU cores per rank, at most 8.
        seed: fixes the order of the training images, and a split by chance; the command line sets it to its
            ``--seed_everything``.

    Attributes:
        targets: see :class:`~lightning_coordconv.detection.CocoDetection` for this and the following.
        flip_indices: of keypoints.
    """

    targets: Sequence[TargetName] = ()
    flip_indices: Sequence[int] | None = None
    decodes_files = True
    sample_keys: frozenset[str] = frozenset(
        {"image", "boxes", "labels", "area", "iscrowd", "image_id", "file_name", "path"}
    )

    def __init__(
        self,
        root: str,
        predict_images: str | None = None,
        train_transforms: list[nn.Module] | None = None,
        bad_boxes: Policy = "drop",
        bad_images: Policy = "error",
        links: Links = "inside",
        batch_size: int = 4,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.root = Path(root).expanduser()
        self.predict_images = predict_images
        self.train_transforms = [v2.RandomHorizontalFlip()] if train_transforms is None else train_transforms
        self.bad_boxes = bad_boxes
        self.bad_images = bad_images
        self.links = links

    def read(self, split: Split) -> tuple[Path, Path | Annotations]:
        """Return the folder of the images of a split, and their annotations or the file of these."""
        raise NotImplementedError(f"{type(self).__name__} must implement read(split)")

    def prepare(self) -> None:
        """Read the validation split, so that files that are wrong are refused before a run writes anything."""
        val = self.dataset("val")
        assert isinstance(val, CocoDetection)
        self.categories = val.categories
        self.skeleton = val.skeleton

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """Make a list of each key."""
        return {key: [sample[key] for sample in samples] for key in samples[0]}

    def make_dataset(self, split: Split) -> CocoDetection | ImageFiles:
        """Read the annotations of a split, or find the images to make predictions for."""
        dataset: CocoDetection | ImageFiles
        remarks: list[str] = []
        if split == "predict" and self.predict_images is not None:
            dataset = ImageFiles(*find_predicted(self.root, self.predict_images), self.bad_images, self.links)
        else:
            training = split == "train"
            folder, annotations = self.read("test" if split == "predict" else split)
            dataset = CocoDetection(
                folder,
                annotations,
                self.train_transforms if training else (),
                crowds=not training,
                bad_boxes=self.bad_boxes,
                bad_images=self.bad_images,
                links=self.links,
                targets=self.targets,
                flip_indices=self.flip_indices,
            )
            if split != "val":
                val = self.dataset("val")
                assert isinstance(val, CocoDetection)
                check_categories(dataset, val)
                if training:
                    remarks = try_transforms(dataset.transform, dataset.images, dataset.annotated)
            if not training:
                remarks.append(remark("classes without an object, left out of means", dataset.absent_classes()))
        for line in filter(None, [*dataset.remarks(), *remarks]):
            rank_zero_info(f"data of the {split} split: {line}")
        return dataset


class CocoDetectionDataModule(AnnotatedImagesDataModule):
    """Images with boxes, and masks or keypoints, in COCO's format.

    Args:
        root: the folder in which all of the following are.
        train_annotations: annotation file of the training split.
        val_annotations: of the validation split. Without it the images of ``train_annotations`` are split by chance,
            80, 10 and 10 % for training, validation and test, in the same way for the same ``seed``. For other shares
            give files of each split.
        test_annotations: of the test split; the validation split serves as one by default.
        train_images: folder of the training images.
        val_images: of the validation images; not used without ``val_annotations``, since the configs name it for COCO.
        test_images: of the test images; ``val_images`` by default. It needs ``test_annotations``.
        targets: what samples have of each object beside its box and label, ``"masks"`` or ``"keypoints"``; see
            :class:`~lightning_coordconv.detection.CocoDetection` for this and the following.
        flip_indices: for each keypoint the one that it becomes in a mirror.
        kwargs: see :class:`AnnotatedImagesDataModule`.

    Raises:
        FileNotFoundError: if there is no such annotation file or folder.
        ValueError: if a file is not in COCO's format, has no box or not the targets, the transforms leave no box,
            two files differ in their categories or keypoints, or there are ``test_annotations`` without
            ``val_annotations``, ``test_images`` without ``test_annotations`` or ``flip_indices`` without keypoints.
        OSError: if no image of a split can be read.
    """

    def __init__(
        self,
        root: str,
        train_annotations: str,
        val_annotations: str | None = None,
        test_annotations: str | None = None,
        train_images: str = ".",
        val_images: str = ".",
        test_images: str | None = None,
        targets: list[TargetName] | None = None,
        flip_indices: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.targets = targets or []
        self.flip_indices = flip_indices
        self.sample_keys = self.sample_keys.union(self.targets)
        if val_annotations is None and test_annotations is not None:
            raise ValueError(f"test_annotations={test_annotations!r} needs val_annotations too, got None")
        if test_annotations is None and test_images is not None:
            raise ValueError(f"test_images={test_images!r} needs test_annotations too, got None")
        self.whole: Annotations | None = None
        if val_annotations is None:
            folder = self.root / train_images
            whole = read_annotations(self.root / train_annotations)
            self.whole = with_orientation(whole, folder, root_of(folder, self.links))
        val = (val_images, val_annotations or train_annotations)
        test = val if test_annotations is None else (test_images or val_images, test_annotations)
        self.files = {"train": (train_images, train_annotations), "val": val, "test": test}
        self.find_data()
        self.prepare()

    def find_data(self) -> None:
        """Divide the images, if all are in one annotation file."""
        if self.whole is not None:
            names = sorted(image["file_name"] for image in self.whole.content["images"])
            self.parts = self.random_split.divide(names, self.whole.source, "images")

    def read(self, split: Split) -> tuple[Path, Path | Annotations]:
        """Return the folder of the images of a split, and their annotations or the file of these."""
        if self.whole is not None:
            return self.root / self.files["train"][0], self.whole.part(self.parts[split])
        folder, annotations = self.files[split]
        return self.root / folder, self.root / annotations


class YoloDetectionDataModule(AnnotatedImagesDataModule):
    """Images and boxes in YOLO's format, which a ``data.yaml`` describes.

    Without a ``test`` split the validation split serves as one.

    Args:
        root: the folder with the ``data.yaml``, or the file, whatever its name.
        kwargs: see :class:`AnnotatedImagesDataModule`.

    Raises:
        FileNotFoundError: if there is no such file, or no image of a split.
        ValueError: if a file is not in YOLO's format (:class:`~lightning_coordconv.detection.YoloFolder`), or has no
            box.
    """

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.yolo = YoloFolder(self.root)
        self.root = self.yolo.file.parent
        self.prepare()

    def read(self, split: Split) -> tuple[Path, Annotations]:
        """Read the files of labels of a split."""
        return self.root, self.yolo.read(split if split in self.yolo.sources else "val")


class VocDetectionDataModule(AnnotatedImagesDataModule):
    """Images and boxes in the format of Pascal VOC: ``Annotations/*.xml`` and ``JPEGImages``.

    Without lists in ``ImageSets/Main`` images are split by chance, in the same way for the same ``seed``. Without a
    list ``test.txt`` the validation split serves as the test split too.

    Args:
        root: the folder.
        kwargs: see :class:`AnnotatedImagesDataModule`.

    Raises:
        FileNotFoundError: if a folder is missing or empty, or a list names an XML file that does not exist.
        ValueError: if a file is not in VOC's format (:class:`~lightning_coordconv.detection.VocFolder`), or a split has
            no box.
    """

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.find_data()
        self.prepare()

    def find_data(self) -> None:
        """Read the XML files."""
        self.voc = VocFolder(self.root, self.random_split)

    def read(self, split: Split) -> tuple[Path, Annotations]:
        """Return the annotations of a split."""
        return self.root, self.voc.read(split if split in self.voc.splits else "val")
