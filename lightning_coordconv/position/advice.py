"""Class of an advice, and functions that measure a model and its data and advise whether and where to use CoordConv."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from lightning_coordconv.core import BaseDataModule, BaseTask
from lightning_coordconv.core.modes import evaluating
from lightning_coordconv.core.survey import spread
from lightning_coordconv.layers import Encoding, FourierFeatures, Polar
from lightning_coordconv.position.dependence import MIN_IMAGES, Dependence, measure_dependence
from lightning_coordconv.position.features import of_one_size, run, stages
from lightning_coordconv.position.frames import Frames, check_frames
from lightning_coordconv.position.keypoints import measure_spread
from lightning_coordconv.position.observations import IGNORED, LIMIT, Observations, observe
from lightning_coordconv.position.placement import Placement, place
from lightning_coordconv.position.readout import StageReadout, read_positions
from lightning_coordconv.position.samples import read_samples
from lightning_coordconv.position.translation import measure_translation

DEPENDS = 0.02
"""Share of the target's uncertainty that position must remove, or share of the image that a keypoint must move."""
MIN_IMAGES_FOR_NO = 100
"""Fewer images than this could hide a dependence of a few per cent."""
KNOWN = 0.9
"""Share of the variance of position that a stage must explain for its features to tell position."""
COARSE = 0.5
"""Share of the dependence that must be smooth for plain coordinates to do."""
RADIAL = 0.95
"""Share of the dependence that the radius must give for the radius to be the encoding."""
MOVES = 0.5
"""Change of a prediction when the content moves, against that to another image, that shows that it tells position."""
RANDOM = (
    "Training samples change from one reading to the next. Random flips hide a dependence on position: leave them out "
    "if left and right differ."
)
"""What is said of samples that are changed at random."""
CHANGED = 0.05
"""Relative change of a prediction that is worth a sentence."""


@dataclass(frozen=True)
class Advice:
    """What to do, and why.

    Attributes:
        convert: whether to make convolutions position-aware; ``None`` where the data do not decide it.
        where: names of the convolutions to convert, for ``to_coordconv(model, where=advice.where)``, or of an agent
            those of its features extractor; empty unless ``convert``.
        encoding: what these should see; ``None`` for plain coordinates.
        sentences: the advice in words, each with its figures.
        dependence: what position tells about each kind of target.
        readout: what each stage of the model tells about position.
        translation: how much the prediction changes when content moves, against its change to another image; ``None``
            for models that do not return one vector an image.
        frames: how images reach the model.
        observations: the pairs of position and target, for pictures.
    """

    convert: bool | None
    where: list[str]
    encoding: Encoding | None
    sentences: list[str]
    dependence: list[Dependence]
    readout: list[StageReadout]
    translation: float | None
    frames: Frames
    observations: list[Observations] = field(repr=False, default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the observations as plain values, for JSON."""
        return {
            "convert": self.convert,
            "where": self.where,
            "encoding": None if self.encoding is None else type(self.encoding).__name__,
            "sentences": self.sentences,
            "dependence": [found.to_dict() for found in self.dependence],
            "readout": [found.to_dict() for found in self.readout],
            "translation": self.translation,
            "frames": self.frames.to_dict(),
        }

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def advise(model: nn.Module, data: BaseDataModule, num_images: int = 500, num_readout_images: int = 24) -> Advice:
    """Say whether position matters for a model and its data, and where to tell the model about it.

    Nothing is trained but linear readouts and kernel estimates, in minutes on two cores. The model is left as it was.

    Args:
        model: any network of 2-D images: a classifier, a segmentation network, a torchvision detector, or a task around
            one of them, or around an agent, of which the features extractor is measured.
        data: any data module of this package, or a subclass of :class:`~lightning_coordconv.core.BaseDataModule` whose
            samples are dicts with an ``image`` (C, H, W); its training split is read, and for an environment what an
            agent that acts at random sees in it.
        num_images: training images that the dependence of the target on position is estimated from, at least 4.
        num_readout_images: of these, the images that the model is run on, at least 4.

    Raises:
        TypeError: if the data are no such data module.
        ValueError: if a number is too small, the data have fewer than 4 images or no images, samples hold numbers that
            :func:`~lightning_coordconv.position.observe` refuses, or the model cannot be run on them or returns NaN.
    """
    for name, value in (("num_images", num_images), ("num_readout_images", num_readout_images)):
        if value < 4:
            raise ValueError(f"{name} must be at least 4, got {value}")
    samples = read_samples(data, num_images)
    network = model.network_for(data) if isinstance(model, BaseTask) else model
    images = of_one_size([samples[number]["image"] for number in spread(len(samples), num_readout_images)])
    observations = observe(samples, getattr(data, "ignore_index", IGNORED))
    with evaluating(network), torch.compiler.set_stance("force_eager"):  # compiled code runs no hooks
        names = stages(network, images)
        readout = read_positions(network, images, names)
        translation = measure_translation(network, images)
        frames = check_frames(network, data.dataset("train"), [sample["image"] for sample in samples])
        placement = place(network, lambda: run(network, images[:1]))
    if network is getattr(model, "net", None):  # names in the task, which is what the caller converts
        placement = replace(placement, names=[f"net.{name}" for name in placement.names])
    dependence = [
        measure_spread(o.what, o.positions, o.targets, o.images)
        if o.is_place
        else measure_dependence(o.what, o.positions, o.targets, o.images, o.content)
        for o in observations
    ]
    more = len(samples) < len(data.dataset("train"))  # type: ignore[arg-type]
    keys = samples[0].keys() - {"image"}
    return conclude(dependence, readout, translation, frames, placement, observations, more, sorted(keys))


def conclude(
    dependence: Sequence[Dependence],
    readout: Sequence[StageReadout],
    translation: float | None,
    frames: Frames,
    placement: Placement,
    observations: Sequence[Observations] = (),
    more: bool = True,
    keys: Sequence[str] = (),
) -> Advice:
    """Turn measurements into advice: a pure function of them, of whether there are more images, and of the keys."""
    depends, sentences = _dependence(dependence)
    knows, findings = _knowledge(readout, translation)
    sentences += findings
    convert = None if depends is None else depends and not knows
    encoding = _encoding(dependence) if convert else None
    where = placement.names if convert else []
    if placement.seeing:
        sentences.append(
            f"The model has coordinates already, in {', '.join(placement.seeing)}: to learn whether they help, give it "
            "without."
        )
    if convert is not False:
        sentences += _frame_sentences(frames)
    elif frames.random:
        sentences.append(RANDOM)
    if depends is None:
        sentences.append(_undecided(dependence, placement, more, keys))
    else:
        sentences.append(_therefore(depends, knows, placement, encoding))
    return Advice(convert, where, encoding, sentences, [*dependence], [*readout], translation, frames, [*observations])


def _dependence(found: Sequence[Dependence]) -> tuple[bool | None, list[str]]:
    """Return whether the answer depends on position, or ``None``, and what was measured."""
    sentences = []
    for one in found:
        share, added = one.share, one.added
        measured = (
            "it lies {} of the image's size from its mean" if one.is_place else "position removes {} of the uncertainty"
        )
        figures = f"{measured.format(_percent(share.value))} ({_interval(share.low, share.high)})"
        if one.given_content is not None:
            interval = _interval(added.low, added.high)
            figures += f", and of what is left where the content is known {_percent(added.value)} ({interval})"
        few = "" if one.enough else "; too few to conclude from"
        if one.constant:
            figures, few = "one and the same everywhere, so position can tell nothing about it", ""
        basis = f"{one.images} images, {one.observations} observations"
        sentences.append(f"{one.what[0].upper()}{one.what[1:]}: {figures}; {basis}{few}.")
    decided = {_depends(one) for one in found if not one.constant}
    if True in decided:
        return True, sentences
    return (False if decided == {False} else None), sentences


def _depends(one: Dependence) -> bool | None:
    """Return whether a target depends on position, or ``None`` where its measurement does not decide it."""
    if one.enough and one.added.low > DEPENDS:
        return True
    return False if one.enough and one.added.high <= DEPENDS and one.images >= MIN_IMAGES_FOR_NO else None


def _knowledge(readout: Sequence[StageReadout], translation: float | None) -> tuple[bool, list[str]]:
    """Return whether the model tells position without its padding, and what was measured."""
    moves = translation is not None and translation >= MOVES
    sentences = []
    if translation is not None:
        sentences.append(
            "When the content is moved, without a border, the prediction changes by "
            f"{_percent(translation)} of its change to another image: the model's output "
            f"{'tells' if moves else 'does not tell'} where the content is."
        )
    if not readout:
        return moves, [*sentences, "The model has no feature map of more than one cell to read position from."]
    last = readout[-1]
    shape = f"{last.size[0]} x {last.size[1]} cells"
    sentences += [
        f"A linear readout of the last stage ({last.stage}, {shape}) explains {_percent(last.images)} of position on "
        f"held-out images ({_interval(last.images_low, last.images_high)}), and {_percent(last.without_padding)} "
        "without zero padding.",
        f"On a blank canvas it explains {_percent(last.blank)}, and {_percent(last.blank_without_padding)} without "
        f"zero padding; padding changes the features up to {last.reach} cells from the border.",
    ]
    return moves or (last.without_padding >= KNOWN and last.blank_without_padding >= KNOWN), sentences


def _encoding(found: Sequence[Dependence]) -> Encoding | None:
    """Return the encoding that suits the way in which the target depends on position; ``None`` for coordinates."""
    clear = [one for one in found if _depends(one)]
    if not clear or any(one.is_place for one in clear):  # a place is read off plain coordinates
        return None
    strongest = max(clear, key=lambda one: one.added.value)
    if strongest.radius_share >= RADIAL * strongest.added.value:
        return Polar()
    return FourierFeatures() if strongest.coarse_share < COARSE * strongest.added.value else None


def _frame_sentences(frames: Frames) -> list[str]:
    sentences = []
    if frames.placed:
        sentences.append(
            "Samples are crops that say where they lie: run the model inside coordinate_frame(origin, size, crop=...), "
            "so that coordinates are those of the full image."
        )
    if frames.random:
        sentences.append(RANDOM)
        if not frames.placed:
            sentences[-1] += (
                " After a random crop, coordinates are those of the crop unless the samples say where it lies and the "
                "model runs inside coordinate_frame(origin, size, crop=...)."
            )
    if frames.sizes > 1:
        sentences.append(
            f"Images have {frames.sizes} sizes: -1 to 1 spans each image. Where a pixel has a physical size, pass "
            "positions in physical units by coordinate_field(...); in a padded batch, use "
            "coordinate_frame((0, 0), sizes, crop=..., padded=True)."
        )
    for what, change in (
        ("with the same content in another crop: train and evaluate on the same kind of crops", frames.crop),
        ("with a larger image in the same batch: evaluate with one image in a batch", frames.batch),
        ("when the image is enlarged by a quarter: train and evaluate at the same sizes", frames.resized),
    ):
        if change is not None and change > CHANGED:
            sentences.append(f"The prediction changes by {change:.0%} {what}.")
    return sentences or ["All images have one size and are not cropped at random: coordinates need no frame."]


def _therefore(depends: bool, knows: bool, placement: Placement, encoding: Encoding | None) -> str:
    if not depends:
        return "Therefore: do not convert. Coordinates have nothing to tell here, and can only be overfitted."
    if knows:
        return "Therefore: do not convert. The answer depends on position, and the model tells it already."
    seen = {type(None): "plain coordinates", Polar: "polar coordinates", FourierFeatures: "Fourier features"}
    names = ", ".join(placement.names)
    return f"Therefore: convert {names} ({placement.reason}), with {seen[type(encoding)]}."


def _undecided(found: Sequence[Dependence], placement: Placement, more: bool, keys: Sequence[str]) -> str:
    """Say what the measurements lack, and what to do."""
    open_ = [one for one in found if not one.constant and _depends(one) is None]
    images = max((one.images for one in open_ or found), default=0)
    more = more and any(one.observations < LIMIT for one in found)
    if not found:
        lack = f"nothing in the samples ({', '.join(keys) or 'only images'}) is read as a target: each number to "
        lack += "predict needs a key of its own"
    elif images < MIN_IMAGES_FOR_NO:
        least = MIN_IMAGES if images < MIN_IMAGES else MIN_IMAGES_FOR_NO
        lack = f"{images} images are too few to {'say anything' if images < MIN_IMAGES else 'rule out a dependence'}: "
        lack += f"at least {least} are needed"
    elif not open_:
        lack = f"in {images} images no target varies"
    else:
        lack = f"{images} images leave open whether position adds more than {DEPENDS:.0%}"
    train = f"rain with and without coordinates in {', '.join(placement.names)}."
    return f"Therefore: undecided, for {lack}. {f'Read more images, or t{train}' if more else f'T{train}'}"


def _percent(share: float) -> str:
    """Return a share in percent; below zero means no better than chance, which is 0 %."""
    return f"{max(share, 0):.0%}"


def _interval(low: float, high: float) -> str:
    return f"95 % interval {_percent(low)} to {_percent(high)}"
