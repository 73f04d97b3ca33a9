"""Tests of state dicts of layers: keys of parameters only, and refusal of weights saved with another encoding."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    ConstantCoordinates,
    CoordConv2d,
    CoordConvTranspose2d,
    Encoding,
    FourierFeatures,
    LearnedGrid,
    Polar,
    Sinusoidal,
    TiledCoordConv2d,
    from_coordconv,
    to_coordconv,
)


class Mine(Encoding):
    """A user's encoding."""

    def num_channels(self, num_axes):
        return 4

    def forward(self, grid):
        return torch.cat((grid, grid**2), 1)


TWO = [{}, {"encoding": Cartesian(align_corners=False)}, {"encoding": Cartesian(preserve_aspect=True)},
       {"encoding": ConstantCoordinates()}]  # fmt: skip
THREE = [{"with_r": True}, {"encoding": Polar()}, {"encoding": Polar(preserve_aspect=True)}]
FOUR = [{"encoding": Mine()}, {"encoding": Sinusoidal(1)}, {"encoding": Sinusoidal(1, temperature=20.0)},
        {"encoding": FourierFeatures(1, include_coordinates=False)}]  # fmt: skip
SIX = [{"encoding": Sinusoidal(3, align_corners=False)}, {"encoding": FourierFeatures(1)}]
GRIDS = [{"encoding": LearnedGrid(3, (2, 2))}, {"encoding": LearnedGrid(3, (2, 2), align_corners=False)}]
PAIRS = [pair for group in (TWO, THREE, FOUR, GRIDS) for pair in itertools.permutations(group, 2)]
PAIRS += [({"encoding": Sinusoidal(2)}, {"encoding": FourierFeatures(2, include_coordinates=False)})]


def models(options):
    converted = to_coordconv(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1)), "all", **options)
    tiled = nn.Sequential(TiledCoordConv2d(5, 2, 4, **options))
    return [
        nn.Sequential(CoordConv2d(1, 4, 3, **options), CoordConvTranspose2d(4, 1, 3, **options)),
        converted,
        tiled,
        nn.Sequential(AddCoords(**options), nn.Conv2d(AddCoords(**options).num_coordinates + 1, 2, 1)),
        CoordConv2d(1, 2, 3, **options),
    ]


def copies(state):
    """Yield what usual ways of keeping a state dict make of it."""
    yield state
    file = io.BytesIO()
    torch.save({"state_dict": state}, file)
    file.seek(0)
    yield torch.load(file, weights_only=True)["state_dict"]
    yield copy.deepcopy(state)
    yield pickle.loads(pickle.dumps(state))


@pytest.mark.parametrize(("saved", "now"), PAIRS)
def test_weights_of_other_coordinates_with_as_many_channels_are_refused(saved, now):
    for source, target in zip(models(saved), models(now), strict=True):
        for state in copies(source.state_dict()):
            for strict in (True, False):
                with pytest.raises(RuntimeError, match=r"was saved with the coordinates \w+\(.*\) and sees \w+\("):
                    target.load_state_dict(state, strict=strict)
        target.load_state_dict(dict(source.state_dict()))  # the way out that the error names


@pytest.mark.parametrize("options", [*TWO, *THREE, *FOUR, *SIX, *GRIDS])
def test_weights_load_into_the_same_coordinates_and_the_keys_are_those_of_the_parameters(options):
    for source, target in zip(models(options), models(copy.deepcopy(options)), strict=True):
        for state in copies(source.state_dict()):
            assert list(state) == [name for name, _ in source.named_parameters(remove_duplicate=False)]
            target.load_state_dict(state)
        for name, weight in source.named_parameters():
            assert torch.equal(weight, target.get_parameter(name))


def test_the_default_is_named_in_either_way():
    for with_r in (False, True):
        source = CoordConv2d(1, 2, 3, encoding=Cartesian(with_r=with_r))
        target = CoordConv2d(1, 2, 3, with_r=with_r)
        target.load_state_dict(source.state_dict())
        assert torch.equal(target.coord_weight, source.coord_weight)


def test_plain_convolutions_load_and_are_loaded():
    plain, layer = nn.Sequential(nn.Conv2d(1, 4, 3)), nn.Sequential(CoordConv2d(1, 4, 3, encoding=Polar()))
    layer.load_state_dict(plain.state_dict())
    assert not layer[0].coord_weight.any()
    plain.load_state_dict(from_coordconv(layer).state_dict())
    assert "coordinates" not in layer.state_dict()._metadata["0"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: nn.ModuleDict({"module": model}),  # as DistributedDataParallel and AveragedModel name it
        lambda model: nn.Sequential(model, nn.ReLU()),
        copy.deepcopy,
        lambda model: torch.optim.swa_utils.AveragedModel(model),
        lambda model: torch.compile(model, backend="eager"),
        lambda model: (model.compile(backend="eager"), model)[1],
    ],
)
def test_wrapped_models_keep_the_record(wrap):
    polar, cartesian = ({"encoding": Polar()}, {"with_r": True})
    wrapped, other = wrap(models(polar)[0]), wrap(models(cartesian)[0])
    wrap(models(polar)[0]).load_state_dict(wrapped.state_dict())
    with pytest.raises(RuntimeError, match=r"the coordinates Polar\(\) and sees Cartesian\(with_r=True\)"):
        other.load_state_dict(wrapped.state_dict())


def test_parametrized_layers_keep_the_record():
    source, target = (parametrizations.weight_norm(CoordConv2d(1, 2, 3, encoding=e)) for e in (Polar(), None))
    with pytest.raises(RuntimeError, match=r"saved with the coordinates Polar\(\)"):
        target.load_state_dict(source.state_dict())


def test_a_state_dict_with_a_destination_without_metadata_is_filled():
    destination = {}
    CoordConv2d(1, 2, 3).state_dict(destination=destination, prefix="layer.")
    assert sorted(destination) == ["layer.bias", "layer.coord_weight", "layer.weight"]
