"""Base classes of trained models, to load, use in Python and export, and of their predictions, to draw and save."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from lightning_coordconv.core.arguments import check_at_least, check_names
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.export import SIZES, Exportable, ExportError, Format, choose_format, export, isolated
from lightning_coordconv.core.modes import predicting
from lightning_coordconv.core.pictures import to_picture
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.core.restore import load_task
from lightning_coordconv.core.sources import Images, Source, find_sources
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.core.undefined import UndefinedOutputError

TaskT = TypeVar("TaskT", bound=BaseTask)
ResultT = TypeVar("ResultT")
Size = tuple[int, int]
"""Height and width in pixels."""
Examples = tuple[tuple[Tensor], ...]


class Result(ABC):
    """A prediction, which can be drawn and saved."""

    @abstractmethod
    def draw(self) -> Figure | Image.Image:
        """Return a picture of the prediction."""

    def plot(self) -> Image.Image:
        """Return a picture of the prediction. Needs no display; notebooks show it."""
        picture = self.draw()
        return to_picture(picture) if isinstance(picture, Figure) else picture

    def save(self, path: str | Path) -> Path:
        """Write the picture of the prediction to a file, in the format of its suffix, and return the path.

        Raises:
            OSError: naming the path, if it cannot be written or has the suffix of no image format.
        """
        picture = self.plot()
        with writing(path) as target:
            picture.save(target)
        return target


class Predictor(Generic[TaskT]):
    """A trained task, in evaluation mode, on a device.

    Weights are those that evaluation uses: a checkpoint holds moving averages in place of the weights where a run has
    them.

    Args:
        task: a trained task.
        device: ``"auto"`` for an accelerator if there is one, or a device of torch.

    Raises:
        ValueError: if there is no such device.
    """

    kinds: ClassVar[tuple[type[BaseTask], ...]] = (BaseTask,)
    """Classes of the tasks that it is for."""
    formats: ClassVar[tuple[Format, ...]] = ("onnx", "torch")
    """Formats that the network can be exported in."""

    def __init__(self, task: TaskT, device: str | torch.device = "auto") -> None:
        self.device = _device(device)
        self.task = task.eval().requires_grad_(False).to(self.device)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "auto", trust: bool = False, **arguments: Any) -> Self:
        """Load a trained model from a checkpoint, which is enough: its data and configuration are not needed.

        The checkpoint is read as data: nothing in it is run, unless ``trust`` is set.

        Args:
            path: the checkpoint, or the name of weights that are part of the package, such as ``"painter"``.
            device: ``"auto"`` for an accelerator if there is one, or a device of torch, such as ``"cpu"``.
            trust: build whatever the checkpoint names, which can run code.
            **arguments: of the task, in place of those in the checkpoint; ``net``, for example, for a network that it
                cannot describe, and which the model then uses itself, not a copy.

        Raises:
            FileNotFoundError: if there is no such file, and no shipped weights have that name.
            CheckpointError: if it is damaged, no checkpoint, or one of another task or architecture.
            UntrustedCheckpointError: if it names a class that loading a checkpoint must not import.
            ValueError: if there is no such device.
        """
        return cls(cast(TaskT, load_task(path, cls.kinds, trust, arguments).float()), device)

    @isolated
    def export(
        self,
        path: str | Path,
        size: Size | None = None,
        format: Format | None = None,
        images: Images | None = None,
    ) -> float:
        """Write the network to a file that other programs run, if the file computes what the network computes.

        Args:
            path: the file: ``.onnx``, ``.pt2`` or, of agents, ``.zip``.
            size: height and width of the images, in pixels, where they are fixed; the coordinates then are constants.
                Without it the file takes images of any size, as far as that is possible.
            format: ``"onnx"``, ``"torch"`` or ``"sb3"``; by default that of the suffix.
            images: on which the outputs are compared, three at most; random images by default.

        Returns:
            The largest difference between outputs of the file and of the network, as a share of the largest value.

        Raises:
            ExportError: if the network cannot be exported in this way, or the file would compute something else.
            OSError: if the file cannot be written.
            ValueError: if the size is not two positive integers.
        """
        path = Path(path)
        return self.write(path, self.choose(path, size, format), size, images)

    def choose(self, path: Path, size: Size | None, format: Format | None) -> Format:
        """Return the format of a file to write, if the task has it and the size is possible; see :meth:`export`."""
        chosen = choose_format(path, format)
        if chosen not in self.formats:
            raise ExportError(
                f"{type(self.task).__name__} is exported as {' or '.join(self.formats)}, and not as {chosen}"
            )
        if size is not None:
            if not isinstance(size, Sequence) or len(size) != 2:
                raise ValueError(f"size must be the height and the width, two integers, got {size!r}")
            check_at_least(1, **dict(zip(("height", "width"), size, strict=True)))
        return chosen

    def write(self, path: Path, format: Format, size: Size | None, images: Images | None = None) -> float:
        """Write a file of a format that this class has; see :meth:`export`."""
        return export(self.exportable(size, images), path, format)

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the network in the form in which it is exported; see :meth:`export`."""
        raise ExportError(f"{type(self.task).__name__} cannot be exported")


class ImagePredictor(Predictor[TaskT], Generic[TaskT, ResultT]):
    """A trained task that makes a prediction for each image, independent of other images.

    Args:
        task: a trained task.
        device: see :class:`Predictor`.

    Raises:
        CheckpointError: if the checkpoint describes class names or the preparation of images, but wrongly.
    """

    default: Preprocessing = Preprocessing()
    """The preparation of images where a checkpoint does not say it."""
    moving: ClassVar[tuple[str, ...]] = ()
    """Steps of the preparation after which a predicted place in the prepared image is another one in the picture."""

    def __init__(self, task: TaskT, device: str | torch.device = "auto") -> None:
        super().__init__(task, device)
        described = task.describe_data()
        self.class_names = self.read_names(described)
        self.preprocessing = self._read_preprocessing(described)

    def read_names(self, described: Mapping[str, Any], classes: int | None = None) -> list[str]:
        """Return the names of the classes, by class; an empty list, with a message, where they are not known.

        Raises:
            CheckpointError: if they are not different strings, one for each of the classes if their number is given.
        """
        names = described.get("class_names") or []
        try:
            check_names(names, classes if names and classes is not None else len(names))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the class_names of the checkpoint are wrong: {error}") from error
        if not names:
            rank_zero_info("The checkpoint has no class names: classes are numbers.")
        return list(names)

    def name_of(self, label: int) -> str:
        """Return the name of a class; its number where the name is not known."""
        known, name = self.class_names, f"class {label}"  # another class can have a number as its name
        if label < len(known):
            return known[label]
        return (f"output {label}" if name in known else name) if known else str(label)

    def read(self, source: Source) -> Image.Image | Tensor:
        """Return an image before it is prepared."""
        return source.read()

    def metadata(self, size: Size | None) -> dict[str, Any]:
        """Return what a user of a file exported for images of a size must know: class names, preparation, size."""
        prepared = self.preprocessing.without_other_size(size)
        return {"class_names": self.class_names, "preprocessing": prepared.to_dict(), "size": size or prepared.size}

    def examples(self, size: Size | None, images: Images | None) -> tuple[Examples, dict[int, str]]:
        """Return three batches of images in [0, 1], (B, C, H, W), and which of their axes may have any length.

        Args:
            size: of the images; that of the preprocessing by default, and several sizes if it has none.
            images: what they show; random pixels by default.
        """
        size = size or self.preprocessing.size
        generator = torch.Generator().manual_seed(0)
        given = [] if images is None else [source.tensor() for source in find_sources(images)[0][:3]]
        shapes = [
            (batch, self.preprocessing.channels, *(size or varied))
            for batch, varied in zip((2, 1, 3), SIZES, strict=True)
        ]
        axes = {0: "batch"} | ({2: "height", 3: "width"} if size is None else {})
        batches = [torch.rand(shape, generator=generator) for shape in shapes]
        if given:
            in_channels = Preprocessing(self.preprocessing.channels)
            pairs = zip(batches, itertools.cycle(given), strict=False)
            batches = [in_channels(resize(image, list(batch.shape[-2:]))).expand_as(batch) for batch, image in pairs]
        return tuple((batch,) for batch in batches), axes

    def predict_each(self, images: Images, function: Callable[[Any, Source], ResultT]) -> ResultT | list[ResultT]:
        """Return the result of one image, or a list of the results of several.

        Args:
            images: see :func:`~lightning_coordconv.core.sources.find_sources`.
            function: returns the result of what :meth:`prepare` returns.

        Raises:
            UndefinedOutputError: naming an image for which the network returns NaN or infinity.
            ValueError: if the preparation of images moves what is predicted to another place.
        """
        self.preprocessing.check_places(self.moving)
        sources, several = find_sources(images)
        with predicting(self.task):
            results = [self._predict(source, function) for source in sources]
        return results if several else results[0]

    def prepare(self, source: Source) -> Any:
        """Return what the network sees of an image, (C, H, W), on the device."""
        return self.preprocessing(self.read(source)).to(self.device)

    def _predict(self, source: Source, function: Callable[[Any, Source], ResultT]) -> ResultT:
        image = self.prepare(source)
        try:
            return function(image, source)
        except UndefinedOutputError as error:
            raise UndefinedOutputError(f"{source.name}: {error}") from error
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            shape = " x ".join(map(str, image.shape))
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"the network does not take {source.name}, prepared as {shape}: {reason}") from error

    def _read_preprocessing(self, described: Mapping[str, Any]) -> Preprocessing:
        if "preprocessing" not in described:
            rank_zero_info(f"The checkpoint does not say how images are prepared: they get {self.default}.")
            return self.default
        try:
            return Preprocessing.from_dict(described["preprocessing"])
        except ValueError as error:
            raise CheckpointError(f"the checkpoint describes no preparation of images: {error}") from error


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Return a context that writes a file, in a folder that is made for it.

    Raises:
        OSError: naming the path, if it cannot be written or its suffix is that of no known format.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
    except (OSError, ValueError) as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"there is no device {str(device)!r}: {str(error).splitlines()[0]}") from error
    return found
