"""Tests of GAN and VAE networks: numbers of weights, outputs by definition, batches, norms, initialisation, errors."""

import copy

import pytest
import torch
from torch.nn import functional as F

from lightning_coordconv.generative import (
    ConvDiscriminator,
    ConvEncoder,
    ConvGenerator,
    CoordConvGenerator,
    SpatialBroadcastDecoder,
)


def weights(net):
    return sum(weight.numel() for weight in net.parameters())


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def concat(image):
    """Append the coordinates, as the paper does."""
    rows, columns = (torch.linspace(-1, 1, size) for size in image.shape[-2:])
    i, j = torch.meshgrid(rows, columns, indexing="ij")
    return torch.cat([image, torch.stack([i, j]).expand(len(image), -1, -1, -1)], dim=1)


def kernel(layer):
    return torch.cat([layer.weight, layer.coord_weight], dim=1)


def test_the_papers_weights():
    with torch.device("meta"):
        assert weights(ConvGenerator()) == 6_413_315
        assert weights(ConvDiscriminator()) == 4_316_545
        assert weights(CoordConvGenerator()) == 444_931
        assert weights(ConvDiscriminator(coordinates=True)) == 4_319_745
        assert weights(CoordConvGenerator(coordinates=False)) == 444_931


def test_coordconv_generator_by_the_definition():
    net = CoordConvGenerator(latent_size=5, canvas=12, width=4)
    latent = noise(3, 5)
    image = F.conv2d(concat(latent[:, :, None, None].expand(-1, -1, 12, 12)), kernel(net[0]), net[0].bias)
    for layer in list(net)[2::2]:
        image = F.conv2d(image.relu(), layer.weight, layer.bias, padding="same")
    painted = net(latent)
    torch.testing.assert_close(painted, image, rtol=1e-4, atol=1e-5)
    assert painted.is_contiguous(memory_format=torch.channels_last)
    assert [layer.kernel_size[0] for layer in list(net)[::2]] == [1, 1, 1, 1, 1, 3, 3, 1]
    assert [layer.out_channels for layer in list(net)[::2]] == [32, 16, 16, 8, 4, 4, 4, 3]


def test_without_coordinates_it_paints_the_same_everywhere_but_at_the_border():
    image = CoordConvGenerator(latent_size=5, canvas=12, width=4, coordinates=False)(noise(2, 5))
    inside = image[:, :, 2:-2, 2:-2]  # two 3x3 convolutions see two pixels of the border
    torch.testing.assert_close(inside, inside[:, :, :1, :1].expand_as(inside))


def test_spatial_broadcast_decoder_by_the_definition():
    net = SpatialBroadcastDecoder(latent_size=5, canvas=12, width=4)
    latent = noise(3, 5)
    layers = [layer for layer in net.layers if isinstance(layer, torch.nn.Conv2d)]
    image = F.conv2d(concat(latent[:, :, None, None].expand(-1, -1, 20, 20)), kernel(layers[0]), layers[0].bias)
    for layer in layers[1:]:
        image = F.conv2d(image.relu(), layer.weight, layer.bias)
    assert image.shape == (3, 3, 12, 12)
    torch.testing.assert_close(net(latent), image, rtol=1e-4, atol=1e-5)
    assert [(layer.kernel_size[0], layer.out_channels) for layer in layers] == [(3, 4)] * 4 + [(1, 3)]


def test_without_coordinates_spatial_broadcast_paints_the_same_everywhere():
    image = SpatialBroadcastDecoder(latent_size=5, canvas=12, width=4, coordinates=False)(noise(2, 5))
    torch.testing.assert_close(image, image[:, :, :1, :1].expand_as(image))
    assert not torch.allclose(image[0], image[1])


NETWORKS = {
    **{f"{kind.__name__}{', coordinates' if on else ''}": (lambda kind=kind, on=on: kind(5, 16, 4, on), (5,))
       for kind in (ConvGenerator, CoordConvGenerator, SpatialBroadcastDecoder) for on in (False, True)},
    **{f"ConvDiscriminator, {norm}": (lambda norm=norm: ConvDiscriminator(16, 4, True, norm), (3, 16, 16))
       for norm in ("batch", "spectral", "none")},
    "ConvEncoder": (lambda: ConvEncoder(5, 16, 4, True), (3, 16, 16)),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network in evaluation mode whose batch norm has seen data, and a batch of inputs."""
    torch.manual_seed(0)
    build, shape = NETWORKS[request.param]
    net, inputs = build(), noise(6, *shape)
    net(inputs)
    return net.eval(), inputs


def outputs(net, inputs):
    with torch.no_grad():
        made = net(inputs)
    return torch.cat(made, dim=1) if isinstance(made, tuple) else made


def test_a_batch_gives_what_its_samples_give(network):
    net, inputs = network
    alone = torch.cat([outputs(net, sample) for sample in inputs.split(1)])
    torch.testing.assert_close(outputs(net, inputs), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs(net, inputs.flip(0)), alone.flip(0), rtol=1e-4, atol=1e-5)


def test_outputs_do_not_depend_on_the_number_of_threads(network):
    net, inputs = network
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(outputs(net, inputs))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_double_precision_agrees_with_single(network):
    net, inputs = network
    double = outputs(copy.deepcopy(net).double(), inputs.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(outputs(net, inputs).double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("coordinates", [False, True])
def test_conv_generator_doubles_a_projection(coordinates):
    net = ConvGenerator(latent_size=5, canvas=16, width=4, coordinates=coordinates)
    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [(8, 4), (4, 3)]
    assert all(hasattr(layer, "coord_weight") == coordinates for layer in layers)
    latent, shape = noise(6, 5), (6, 8, 4, 4)
    image = F.linear(latent, net.project[0].weight, net.project[0].bias).view(shape)
    for layer in layers:
        mean, variance = image.mean((0, 2, 3), keepdim=True), image.var((0, 2, 3), unbiased=False, keepdim=True)
        image = ((image - mean) / (variance + 1e-5).sqrt()).relu()
        seen, weight = image, layer.weight
        if coordinates:
            seen, weight = concat(image), torch.cat([layer.weight, layer.coord_weight])
        image = F.conv_transpose2d(seen, weight, layer.bias, stride=2, padding=2, output_padding=1)
    torch.testing.assert_close(net(latent), image, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("coordinates", [False, True])
def test_discriminator_by_the_definition(coordinates):
    net = ConvDiscriminator(canvas=16, width=4, coordinates=coordinates, norm="none")
    image = noise(2, 3, 16, 16)
    first, second = (layer for layer in net.layers if isinstance(layer, torch.nn.Conv2d))
    seen, weight = (concat(image), kernel(first)) if coordinates else (image, first.weight)
    map_ = F.leaky_relu(F.conv2d(seen, weight, first.bias, stride=2, padding=2), 0.2)
    map_ = F.leaky_relu(F.conv2d(map_, second.weight, second.bias, stride=2, padding=2), 0.2)
    torch.testing.assert_close(net.features(image), map_.flatten(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(image), F.linear(map_.flatten(1), net.logit.weight, net.logit.bias)[:, 0])


def test_batch_norm_follows_all_but_the_first_convolution():
    kinds = [type(layer).__name__ for layer in ConvDiscriminator(canvas=16, width=4).layers]
    assert kinds == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU", "Flatten"]


def test_spectral_norm_bounds_every_weight():
    net = ConvDiscriminator(canvas=16, width=4, coordinates=True, norm="spectral")
    for _ in range(60):
        net(noise(2, 3, 16, 16))  # a power iteration each
    matrices = [layer.weight.flatten(1) for layer in (net.layers[0], net.layers[2], net.logit)]
    for matrix in (*matrices, net.layers[0].coord_weight.flatten(1)):
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=0.01)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in net.modules())


def test_initialisation_is_tensorflows():
    glorot = ConvDiscriminator(norm="none").layers[2].weight  # 128 of 64 x 5 x 5
    bound = (6 / (25 * (64 + 128))) ** 0.5
    assert bound * 0.99 < glorot.abs().max().item() <= bound
    coordinates = ConvDiscriminator(coordinates=True).layers[0]
    assert (
        max(weight.abs().max().item() for weight in (coordinates.weight, coordinates.coord_weight))
        <= (6 / (25 * (5 + 64))) ** 0.5
    )
    he = CoordConvGenerator(latent_size=30)[0]
    assert torch.cat([he.weight, he.coord_weight], dim=1).std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.02)
    assert not he.bias.any()


def test_coordconv_generator_with_batch_norm():
    """After all layers but the last; otherwise it is the same network."""
    net = CoordConvGenerator(latent_size=5, canvas=12, width=4, norm="batch")
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == ["TiledCoordConv2d", "BatchNorm2d", "ReLU", *["Conv2d", "BatchNorm2d", "ReLU"] * 6, "Conv2d"]
    plain = CoordConvGenerator(latent_size=5, canvas=12, width=4)
    plain.load_state_dict(
        dict(
            zip(plain.state_dict(), (weight for layer in list(net)[::3] for weight in layer.parameters()), strict=True)
        )
    )
    for layer in list(net)[1::3]:  # scaled as if there were no norm
        layer.weight.data.fill_((1 + layer.eps) ** 0.5)
    latent = noise(3, 5)
    torch.testing.assert_close(net.eval()(latent), plain(latent), rtol=1e-4, atol=1e-5)


def test_encoder_describes_normal_distributions():
    mean, log_variance = ConvEncoder(latent_size=6, canvas=16, width=4, coordinates=True)(noise(2, 3, 16, 16))
    assert mean.shape == log_variance.shape == (2, 6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvGenerator(canvas=48), "canvas must be a power of two from 8 on, got 48"),
        (lambda: ConvDiscriminator(canvas=4), "canvas must be a power of two from 8 on, got 4"),
        (lambda: ConvEncoder(canvas=0), "canvas must be a power of two from 8 on, got 0"),
        (lambda: ConvDiscriminator(norm="layer"), "norm must be one of .* got 'layer'"),
        (lambda: CoordConvGenerator(norm="spectral"), "norm must be one of batch, none, got 'spectral'"),
        *((lambda kind=kind: kind(canvas=17), "canvas must be a power of two from 8 on, got 17")
          for kind in (ConvGenerator, ConvDiscriminator, ConvEncoder)),
        *((lambda kind=kind: kind(width=0), "width must be at least 1, got 0")
          for kind in (ConvGenerator, CoordConvGenerator, SpatialBroadcastDecoder, ConvDiscriminator, ConvEncoder)),
        *((lambda kind=kind: kind(latent_size=-1), "latent_size must be at least 1, got -1")
          for kind in (ConvGenerator, CoordConvGenerator, SpatialBroadcastDecoder, ConvEncoder)),
        *((lambda kind=kind: kind(canvas=0), "canvas must be at least 1, got 0")
          for kind in (CoordConvGenerator, SpatialBroadcastDecoder)),
        (lambda: ConvGenerator(8, 16, 2)(torch.zeros(1, 9)), r"expected vectors \(B, 8\), got shape \(1, 9\)"),
        (lambda: CoordConvGenerator(8, 16, 2)(torch.zeros(1, 9)), r"expected vectors \(B, 8\), got shape \(1, 9\)"),
        (
            lambda: ConvDiscriminator(16, 2)(torch.zeros(1, 3, 32, 32)),
            r"expected images \(B, 3, 16, 16\), got shape \(1, 3, 32, 32\)",
        ),
        (
            lambda: ConvDiscriminator(16, 2)(torch.zeros(1, 1, 16, 16)),
            r"expected images \(B, 3, 16, 16\), got shape \(1, 1, 16, 16\)",
        ),
    ],
)  # fmt: skip
def test_wrong_sizes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
