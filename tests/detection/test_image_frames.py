"""Tests of detectors on batches of padded images: equal results alone, coordinates, threads, tracing, ONNX exports."""

import copy
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from lightning_coordconv import coordconv_layers, fold_coordconv
from lightning_coordconv.detection import Detector, DigitFasterRCNN, RegionProposalNet
from lightning_coordconv.detection.image_frames import trace_one_size
from lightning_coordconv.detection.region_proposal import PLACES
from tests.slow import slow_except

SMALL = {"min_size": 64, "max_size": 128}
MOBILE = "fasterrcnn_mobilenet_v3_large_fpn"
slow = pytest.mark.slow


def shaken(detector: nn.Module) -> nn.Module:
    """Draw all parameters that begin as zero or alike at random, so that no two boxes score the same by design."""
    generator = torch.Generator().manual_seed(0)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.bias, std=0.3, generator=generator)
    for name, parameter in detector.named_parameters():
        if name.endswith("coord_weight"):
            nn.init.normal_(parameter, std=0.1, generator=generator)
        elif "cls_logits" in name:
            nn.init.normal_(parameter, std=0.03, generator=generator)
    return detector.eval()


def everything(name: str) -> dict[str, float]:
    """Options that keep all boxes: of two that score alike, suppression would keep the one that rounding favours."""
    keep = {"score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": 10_000}
    if "rcnn" not in name:
        return keep
    return {f"box_{key}": value for key, value in keep.items()} | {"rpn_post_nms_top_n_test": 100}


def distance(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Return how far the detections of two runs are apart, in pixels; a hundredth of a score counts as a pixel."""
    assert len(mine["boxes"]) == len(theirs["boxes"]) > 10
    tables = [
        torch.cat([found["boxes"], 100 * found["scores"][:, None], 100 * found["labels"][:, None]], dim=1)
        for found in (mine, theirs)
    ]
    apart = torch.cdist(*(table.double() for table in tables), p=torch.inf)  # rounding may swap boxes that score alike
    return max(apart.amin(0).max().item(), apart.amin(1).max().item())


def images(*sizes: tuple[int, int], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.rand(3, *size, dtype=dtype) for size in sizes]


FULL = ((64, 64), (64, 128))
"""The first image has half of the width of the second one."""
PAIRS = (FULL, ((64, 96), (70, 64)), ((67, 64), (64, 131)), ((64, 127), (128, 64)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "coordinates"),
    [
        (MOBILE, "none"),
        (MOBILE, "stem"),
        (MOBILE, "backbone"),
        (MOBILE, "pp_yolo"),
        ("fcos_resnet50_fpn", "pp_yolo"),
        pytest.param("fcos_resnet50_fpn", "stem", marks=slow),
        pytest.param("fasterrcnn_resnet50_fpn", "backbone", marks=slow),
        pytest.param("fasterrcnn_resnet50_fpn_v2", "pp_yolo", marks=slow),
        pytest.param("retinanet_resnet50_fpn", "pp_yolo", marks=slow),
        pytest.param("retinanet_resnet50_fpn_v2", "stem", marks=slow),
        pytest.param("retinanet_resnet50_fpn", "backbone", marks=slow),
    ],
)
@torch.no_grad()
def test_a_batch_against_its_images_one_by_one(name, coordinates):
    """In double precision, so that nothing but rounding can differ."""
    net = shaken(Detector(name, 5, coordinates, options=SMALL | everything(name))).double()
    for pair in PAIRS if name == MOBILE else (FULL, PAIRS[2]):
        batch = images(*pair)
        for image, beside in zip(batch, net(batch), strict=True):
            assert distance(beside, net([image])[0]) < 1e-8, pair


@pytest.mark.slow
@pytest.mark.parametrize("size", [(128, 128), (128, 160), (256, 128), (255, 129)])
@torch.no_grad()
def test_sizes_around_the_multiple_that_images_are_padded_to(size):
    options = {"min_size": 128, "max_size": 256} | everything(MOBILE)
    net = shaken(Detector(MOBILE, 5, "stem", options=options)).double()
    image, mate = images(size, (128, 256))
    for batch in ([image, mate], [mate, image], [image, image]):
        assert distance(net(batch)[0 if batch[0] is image else 1], net([image])[0]) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (160, 213)])
@torch.no_grad()
def test_regions_are_pooled_by_the_strides_of_the_maps(size):
    """Also if the first image fills little of its canvas, by whose size torchvision would divide, once and for all."""
    net = Detector(MOBILE, 5, "none", options={"min_size": min(size), "max_size": max(size)}).eval()
    net(images(size, dtype=torch.float32))
    assert net.detector.roi_heads.box_roi_pool.scales == [1 / 32, 1 / 32]


@pytest.mark.slow
@pytest.mark.parametrize("with_r", slow_except([True], [False, True]))
@torch.no_grad()
def test_single_precision_and_the_radius(with_r):
    net = shaken(Detector(MOBILE, 5, "backbone", with_r=with_r, options=SMALL | everything(MOBILE)))
    image, mate = images(*FULL, dtype=torch.float32)
    assert distance(net([image, mate])[0], net([image])[0]) < 0.01


@torch.no_grad()
def test_the_small_faster_rcnn():
    """Images of 64 pixels fill a canvas that is rounded up to 32; one of 32 x 64 is padded beside them."""
    net = shaken(DigitFasterRCNN()).double()
    net.roi_heads.score_thresh, net.roi_heads.nms_thresh, net.roi_heads.detections_per_img = 0.0, 1.0, 1000
    image, mate = (torch.rand(1, *size, dtype=torch.float64) for size in ((32, 64), (64, 64)))
    assert distance(net([image, mate])[0], net([image])[0]) < 1e-8


@pytest.mark.parametrize("same_padding", [False, True])
@torch.no_grad()
def test_a_mirrored_network_sees_a_mirrored_image(same_padding):
    """Kernels flipped along the rows, column coordinates negated: proposals are mirrored, score by score."""
    net = RegionProposalNet(PLACES, same_padding).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.05)
    mirror = copy.deepcopy(net)
    for name, parameter in mirror.named_parameters():
        if parameter.ndim == 4:
            parameter.copy_(parameter.flip(3))
        if name.endswith("coord_weight"):
            parameter[:, 1].neg_()
    image = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    seen, mirrored = net(image), mirror(image.flip(3))
    cells = 16 if same_padding else 13

    def flipped(rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(1, (cells, cells, 9)).flip(2).flatten(1, 3)

    torch.testing.assert_close(flipped(mirrored.logits), seen.logits)
    torch.testing.assert_close(flipped(mirrored.offsets), seen.offsets)
    x1, y1, x2, y2 = flipped(mirrored.anchors[None])[0].unbind(1)
    torch.testing.assert_close(torch.stack([64 - x2, y1, 64 - x1, y2], dim=1), seen.anchors.to(x1))


@pytest.mark.slow
@torch.no_grad()
def test_coordinates_end_with_the_image_and_not_with_the_canvas():
    net = Detector(MOBILE, 5, "stem", options=SMALL).eval()
    (layer,) = coordconv_layers(net).values()
    nn.init.zeros_(layer.weight)
    layer.coord_weight.data[:] = 0.0
    layer.coord_weight.data[0, 1, 1, 1] = 1.0  # the column at the centre of the kernel
    seen = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output[:, 0]))
    net([torch.rand(3, 64, 64), torch.rand(3, 64, 128)])
    ((short, long),) = seen
    torch.testing.assert_close(short[5, :32], torch.linspace(-1, 1, 64)[::2])
    torch.testing.assert_close(long[5, :64], torch.linspace(-1, 1, 128)[::2])


@pytest.mark.slow
def test_a_copy_has_frames_of_its_own():
    net = Detector(MOBILE, 5, "stem", options=SMALL).eval()
    twin = copy.deepcopy(net)
    (hook,) = net.detector.transform._forward_hooks.values()
    (other,) = twin.detector.transform._forward_hooks.values()
    assert hook.__self__ is not other.__self__
    entering = next(iter(twin.detector.backbone._forward_pre_hooks.values()))
    assert entering.__self__ is other.__self__


@pytest.mark.slow
@torch.no_grad()
def test_threads_that_share_a_detector_see_their_own_images():
    """The second thread gives the detector an image while the first one is in its backbone."""
    net = shaken(Detector(MOBILE, 5, "stem", options=SMALL).eval())
    first, second = torch.rand(3, 64, 100), torch.rand(3, 100, 64)
    expected, found = net([first]), []
    net(images := [second])
    here = threading.get_ident()

    def interrupt(*_):
        if threading.get_ident() == here:
            thread = threading.Thread(target=lambda: found.append(net(images)))
            thread.start()
            thread.join()

    handle = net.detector.backbone.body.register_forward_hook(interrupt)
    ours = net([first])
    handle.remove()
    assert len(found) == 1
    for mine, theirs in ((ours, expected), (found[0], net(images))):
        torch.testing.assert_close(mine[0]["boxes"], theirs[0]["boxes"])


@pytest.mark.slow
@torch.no_grad()
def test_a_backbone_that_is_called_by_itself_sees_its_whole_input():
    net = shaken(Detector(MOBILE, 5, "stem", options=SMALL).eval())
    inputs = torch.rand(1, 3, 128, 128)
    expected = net.detector.backbone(inputs)
    net([torch.rand(3, 64, 100)])
    torch.testing.assert_close(net.detector.backbone(inputs), expected)


def export(net: nn.Module, image: torch.Tensor, path: Path) -> None:
    """Export with the exporter that traces, and declare the sizes dynamic."""
    dynamic = {"image": {1: "height", 2: "width"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated, and torchvision's detectors warn when traced
        try:
            torch.onnx.export(net, ([image],), path, dynamo=False, input_names=["image"], dynamic_axes=dynamic)
        finally:
            torch.set_autocast_cache_enabled(True)  # an exporter that fails leaves it off


@pytest.mark.parametrize(("coordinates", "mask_padding"), [("none", True), ("stem", False)])
def test_a_trace_would_keep_one_size_and_is_refused(tmp_path, coordinates, mask_padding):
    net = Detector(MOBILE, 3, coordinates, mask_padding=mask_padding, options=SMALL).eval()
    with pytest.raises(NotImplementedError, match=r"padding of the traced image size.* fold_coordconv"):
        export(net, torch.rand(3, 64, 64), tmp_path / "detector.onnx")


@pytest.mark.slow
@torch.no_grad()
def test_a_folded_detector_is_exported_for_one_size(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = shaken(Detector(MOBILE, 3, "stem", mask_padding=False, options=SMALL | {"box_score_thresh": 0.0}))
    image = torch.rand(3, 64, 96)
    export(fold_coordconv(net, [image]), image, tmp_path / "detector.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "detector.onnx")
    boxes = session.run(None, {"image": image.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(boxes), net([image])[0]["boxes"], rtol=1e-4, atol=1e-3)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        session.run(None, {"image": torch.rand(3, 64, 128).numpy()})


@pytest.mark.parametrize(
    ("size", "shortest"), [((400, 400), 160), ((240, 320), 160), ((400, 600), 160), ((41, 30), 12), ((64, 64), 64)]
)
def test_a_traced_detector_resizes_to_the_size_of_the_detector(size, shortest):
    """In float32, 400 * (160 / 400) is less than 160."""
    transform = GeneralizedRCNNTransform(shortest, 1000, [0.5] * 3, [0.2] * 3, size_divisible=1).eval()
    resize = Resized(transform)
    image = torch.rand(3, *size)
    with trace_one_size(resize, image), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter of detectors traces; torch deprecates that
        traced = torch.jit.trace(resize, (image,))
    assert transform.fixed_size is None
    torch.testing.assert_close(traced(image), resize(image), rtol=0, atol=1e-3)


class Resized(nn.Module):
    """The image that a detector's backbone sees."""

    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def forward(self, image):
        return self.transform([image])[0].tensors
