"""Tests of agents' feature extractors: learning in Stable-Baselines3, shapes, coordinates, pools, wrong arguments."""

import re

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import NatureCNN

import lightning_coordconv.rl.environments  # noqa: F401  # registers the environment
from lightning_coordconv.layers import coordconv_layers
from lightning_coordconv.rl import CoordConvNatureCNN, ImpalaCNN, SmallCNN

ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)
ALGORITHMS = [
    (sb3.A2C, {"n_steps": 8}),
    (sb3.PPO, {"n_steps": 8, "batch_size": 8}),
    (sb3.DQN, {"buffer_size": 100, "learning_starts": 4}),
]
TOUCH = "lightning_coordconv/FindAndTouch-v0"


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "arguments"), ALGORITHMS)
def test_algorithms_learn_save_load_and_score(algorithm, arguments, tmp_path):
    policy_kwargs = {"features_extractor_class": CoordConvNatureCNN}
    agent = algorithm("CnnPolicy", make_vec_env(TOUCH, 2), seed=0, policy_kwargs=policy_kwargs, **arguments).learn(16)
    agent.save(tmp_path / "agent")
    loaded = algorithm.load(tmp_path / "agent")
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 36, 36), np.uint8)
    assert (loaded.predict(images, deterministic=True)[0] == agent.predict(images, deterministic=True)[0]).all()
    assert next(iter(coordconv_layers(loaded.policy).values())).coord_weight.any()
    mean, _ = evaluate_policy(loaded, make_vec_env(TOUCH, 1), 1)
    assert -1 <= mean <= 1


@pytest.mark.parametrize(
    ("arguments", "names", "extra"),
    [
        ({}, ["cnn.0"], 4_096),
        ({"with_r": True}, ["cnn.0"], 6_144),
        ({"where": "all"}, ["cnn.0", "cnn.2", "cnn.4"], 4_096 + 64 * 2 * 16 + 64 * 2 * 9),
        ({"where": ["cnn.2"]}, ["cnn.2"], 2_048),
        ({"where": []}, [], 0),
    ],
)
def test_names_and_shapes_are_those_of_nature_cnn(arguments, names, extra):
    plain, ours = NatureCNN(ATARI), CoordConvNatureCNN(ATARI, **arguments)
    assert list(coordconv_layers(ours)) == names
    shapes = {name: weight.shape for name, weight in ours.state_dict().items() if not name.endswith("coord_weight")}
    assert shapes == {name: weight.shape for name, weight in plain.state_dict().items()}
    count = sum(weight.numel() for weight in ours.parameters())
    assert count == sum(weight.numel() for weight in plain.parameters()) + extra == 1_684_128 + extra


def test_plain_weights_give_the_same_features():
    plain, ours = NatureCNN(ATARI), CoordConvNatureCNN(ATARI, where="all")
    ours.load_state_dict(plain.state_dict())
    images = torch.rand(2, 4, 84, 84)
    assert torch.equal(ours(images), plain(images))


def test_the_first_layer_sees_where_it_is():
    """By hand: on a blank image its response is that of the coordinates, which are linear in the position."""
    layer = CoordConvNatureCNN(ATARI).cnn[0]
    with torch.no_grad():
        layer.bias.zero_()
        rows, columns = layer(torch.zeros(1, 4, 84, 84))[0].diff(2, dim=1), layer(torch.zeros(1, 4, 84, 84))[0].diff(2)
    assert layer.coord_weight.abs().max() > 0
    torch.testing.assert_close(rows, torch.zeros_like(rows), atol=1e-5, rtol=0)
    torch.testing.assert_close(columns, torch.zeros_like(columns), atol=1e-5, rtol=0)


def test_impala():
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    extractor = ImpalaCNN(space, where=["stages.*.0"])
    assert list(coordconv_layers(extractor)) == ["stages.0.0", "stages.1.0", "stages.2.0"]
    assert extractor(torch.rand(2, 4, 84, 84)).shape == (2, 256)
    convolutions = sum(weight.numel() for weight in ImpalaCNN(space, where=[]).stages.parameters())
    assert convolutions == sum(9 * i * o + o + 4 * (9 * o * o + o) for i, o in ((4, 16), (16, 32), (32, 32)))


@pytest.mark.parametrize(
    ("arguments", "knows"),
    [
        ({"where": []}, False),
        ({"where": [], "pool": "mean"}, False),
        ({}, True),
        ({"pool": "mean"}, True),
        ({"where": "last"}, True),
        ({"where": "last", "pool": "mean"}, True),
        ({"where": [], "pool": "flatten"}, True),
    ],
)
def test_what_knows_positions(arguments, knows):
    extractor = SmallCNN(spaces.Box(0, 255, (3, 24, 24), np.uint8), **arguments)
    image = torch.zeros(1, 3, 24, 24)
    image[:, 0, 3:6, 6:9] = 1
    moved = image.roll((9, 3), dims=(2, 3))
    assert torch.allclose(extractor(image), extractor(moved), atol=1e-6) is not knows


@pytest.mark.parametrize("extractor", [CoordConvNatureCNN, ImpalaCNN, SmallCNN])
@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (7,)), spaces.Box(0, 1, (3, 36, 36)), spaces.Discrete(4)], ids=str)
def test_observations_must_be_images(extractor, space):
    with pytest.raises(ValueError, match=f"{extractor.__name__} needs images, uint8"):
        extractor(space)


@pytest.mark.parametrize("extractor", [CoordConvNatureCNN, ImpalaCNN, SmallCNN])
@pytest.mark.parametrize("channels", [2, 3, 12])
def test_channels_must_come_first(extractor, channels):
    space = spaces.Box(0, 1, (36, 40, channels), np.float32)
    with pytest.raises(ValueError, match=rf"observations \(36, 40, {channels}\) have channels last"):
        extractor(space, normalized_image=True)


@pytest.mark.parametrize("shape", [(10, 10, 16), (10, 16, 10)])
def test_channels_that_could_be_on_either_of_two_axes_are_refused(shape):
    """Stable-Baselines3 takes the first of the shortest axes for the channels, and so would take rows for them."""
    with pytest.raises(ValueError, match=rf"two axes of the observations {re.escape(str(shape))} are the shortest"):
        SmallCNN(spaces.Box(0, 255, shape, np.uint8))
    SmallCNN(spaces.Box(0, 1, (16, 10, 10)), normalized_image=True)  # nobody transposes these
    SmallCNN(spaces.Box(0, 255, (10, 10, 10), np.uint8))  # those of a game of MinAtar


def test_normalised_images():
    extractor = CoordConvNatureCNN(spaces.Box(0, 1, (3, 36, 36)), normalized_image=True)
    assert extractor(torch.rand(1, 3, 36, 36)).shape == (1, 512)


@pytest.mark.parametrize(("make", "first", "last"), [
    (lambda **a: SmallCNN(ATARI, **a), "cnn.0", "cnn.4"),
    (lambda **a: ImpalaCNN(ATARI, channels=(4, 8), **a), "stages.0.0", "stages.1.3.layers.3"),
    (lambda **a: CoordConvNatureCNN(ATARI, **a), "cnn.0", "cnn.4"),
])  # fmt: skip
def test_the_first_and_the_last_convolution(make, first, last):
    assert list(coordconv_layers(make(where="first"))) == [first]
    assert list(coordconv_layers(make(where="last"))) == [last]


@pytest.mark.parametrize("network", [SmallCNN, ImpalaCNN, CoordConvNatureCNN])
def test_pools_are_the_mean_and_the_maximum_of_all_cells(network):
    images = torch.rand(3, 4, 84, 84)
    for pool, reduce in (("mean", torch.mean), ("max", torch.amax)):
        extractor = network(ATARI, pool=pool)
        trunk = extractor.stages if network is ImpalaCNN else extractor.cnn[:5]
        features = extractor.linear(reduce(trunk(images).relu(), (2, 3)))
        torch.testing.assert_close(extractor(images), features)


@pytest.mark.parametrize("network", [SmallCNN, ImpalaCNN, CoordConvNatureCNN])
def test_unknown_pool(network):
    with pytest.raises(ValueError, match=r"pool must be one of \['flatten', 'mean', 'max'\], got 'median'"):
        network(ATARI, pool="median")


def test_unknown_layer():
    with pytest.raises(ValueError, match=r"'cnn\.1' matches no convolution"):
        CoordConvNatureCNN(ATARI, where=["cnn.1"])
