"""Class and functions that tell how well feature maps predict position linearly, also without padding or content."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_coordconv.position.features import feature_maps
from lightning_coordconv.position.folds import resampled
from lightning_coordconv.position.padding import padded_with

CELLS = 6000
"""Cells of feature maps that a readout is fitted to at most."""
RIDGE = 0.1
"""Penalty on the squared weights of the readout, for features of unit variance and a mean squared error."""
RESAMPLES = 500
NOISE = 1e-4
"""Features whose standard deviation is below this share of their mean magnitude are rounding errors."""
REACH = 0.01
"""A cell counts as reached by the padding if its features differ by this share from those of the centre."""


@dataclass(frozen=True)
class StageReadout:
    """What the feature map of one stage tells about position.

    Attributes:
        stage: name of the module.
        channels: of the map.
        size: height and width of the map, in cells.
        images: explained share of the variance of the two scaled coordinates on held-out images, at most 1; 0 is no
            better than the centre of the image.
        images_low: lower end of its 95 % interval, by bootstrap over images.
        images_high: upper end.
        without_padding: the same with the zero padding of all convolutions replaced by repeated border cells.
        blank: the same on canvases without content, for cells that the readout was not fitted to.
        blank_without_padding: the same without zero padding.
        reach: how far from the border, in cells, zero padding changes the features of a blank canvas.
    """

    stage: str
    channels: int
    size: tuple[int, int]
    images: float
    images_low: float
    images_high: float
    without_padding: float
    blank: float
    blank_without_padding: float
    reach: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def read_positions(model: nn.Module, images: Sequence[Tensor], names: Sequence[str]) -> list[StageReadout]:
    """Fit a linear readout of (i, j) to the features of half of the images and test it on the other half.

    Args:
        model: in evaluation mode.
        images: (C, H, W) each, at least four.
        names: the stages; see :func:`~lightning_coordconv.position.features.stages`.
    """
    blank = [torch.full_like(images[0], float(torch.stack([image.float().mean() for image in images]).mean()))]
    shown = feature_maps(model, images, names)
    empty = feature_maps(model, blank, names)
    with padded_with(model, "replicate"):
        shown_without = feature_maps(model, images, names)
        empty_without = feature_maps(model, blank, names)
    return [
        _stage(name, shown[name], shown_without[name], empty[name][0], empty_without[name][0])
        for name in names
        if len(shown[name]) == len(images)
    ]


def _stage(name: str, maps: list[Tensor], without: list[Tensor], blank: Tensor, blank_without: Tensor) -> StageReadout:
    share, low, high = _held_out(maps)
    return StageReadout(
        stage=name,
        channels=maps[0].shape[0],
        size=(maps[0].shape[1], maps[0].shape[2]),
        images=share,
        images_low=low,
        images_high=high,
        without_padding=_held_out(without)[0],
        blank=_blank(blank),
        blank_without_padding=_blank(blank_without),
        reach=reach_of_padding(blank),
    )


def cell_positions(height: int, width: int) -> Tensor:
    """Return the scaled positions (H * W, 2) of the cells of a map, in [-1, 1], rows first."""
    rows, columns = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in (height, width))
    return torch.cartesian_prod(rows, columns)


def explained(features: Tensor, positions: Tensor, train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a ridge regression from features to positions, and return what it leaves unexplained.

    Args:
        features: (N, C).
        positions: (N, 2).
        train: indices to fit to.
        test: indices to predict.

    Returns:
        Squared errors of the readout and of the mean position, each (len(test),).
    """
    mean, scale = features[train].mean(0), features[train].std(0)
    varying = scale > NOISE * features[train].abs().mean().clamp(min=1e-12)
    x = ((features - mean) / scale.clamp(min=1e-12))[:, varying].double()
    centre = positions[train].mean(0).double()
    y = positions.double() - centre
    gram = x[train].mT @ x[train] / len(train) + RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x[train].mT @ y[train] / len(train))
    errors = (x[test] @ weights - y[test]).square().sum(1)
    return errors, y[test].square().sum(1)


def reach_of_padding(blank: Tensor) -> int:
    """Return how far from the border the features (C, H, W) of a blank canvas differ from those of its centre."""
    height, width = blank.shape[-2:]
    centre = blank[:, height // 2, width // 2]
    difference = (blank - centre[:, None, None]).norm(dim=0) / centre.norm().clamp(min=1e-12)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    distance = torch.minimum(torch.minimum(rows, height - 1 - rows), torch.minimum(columns, width - 1 - columns))
    reached = distance[difference > REACH]
    return int(reached.max()) + 1 if len(reached) else 0


def _held_out(maps: list[Tensor]) -> tuple[float, float, float]:
    """Return the explained share on every other image, and its interval: classes can come one after the other."""
    generator = torch.Generator().manual_seed(0)
    features = torch.cat([map_.flatten(1).mT for map_ in maps])
    positions = torch.cat([cell_positions(*map_.shape[-2:]) for map_ in maps])
    image = torch.cat([torch.full((map_[0].numel(),), number) for number, map_ in enumerate(maps)])
    chosen = torch.randperm(len(image), generator=generator)[: 2 * CELLS]
    train, test = chosen[image[chosen] % 2 == 0], chosen[image[chosen] % 2 == 1]
    errors, spread = explained(features, positions, train, test)
    sums = torch.zeros(2, len(maps) // 2, dtype=errors.dtype)
    sums.index_add_(1, image[test] // 2, torch.stack([errors, spread]))
    left, total = resampled(sums, generator, RESAMPLES)
    low, high = (1 - left / total).quantile(torch.tensor([0.025, 0.975], dtype=errors.dtype)).tolist()
    return float(1 - errors.sum() / spread.sum()), low, high


def _blank(map_: Tensor) -> float:
    """Return the explained share of one blank canvas: fitted to half of its cells, tested on the others."""
    features, positions = map_.flatten(1).mT, cell_positions(*map_.shape[-2:])
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[: 2 * CELLS]
    train, test = order[: len(order) // 2], order[len(order) // 2 :]
    if len(test) == 0 or float((features - features.mean(0)).abs().max()) == 0:
        return 0.0
    errors, spread = explained(features, positions, train, test)
    return float(1 - errors.sum() / spread.sum())
