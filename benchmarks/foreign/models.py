"""Class of another library's model (how to build it and its input), and the function that lists all such models."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

Built = tuple[nn.Module, tuple[Any, ...]]


class Model(NamedTuple):
    """How to build a model and its input; ``package`` is the library's name in Python."""

    library: str
    name: str
    package: str
    build: Callable[[], Built]
    dtype: torch.dtype = torch.float32
    """Double precision for detectors, which keep or drop a box by a threshold."""


NAMES: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text())
SMALLEST_SIDE = 96
"""Side of timm's images, in pixels, where the model does not fix it."""


def models() -> Iterator[Model]:
    """Yield all models, library by library, those with the smallest models first."""
    for name in NAMES["smp"]:
        yield Model("segmentation-models-pytorch", name, "segmentation_models_pytorch", partial(_smp, name))
    for name, build in (*_transformers(), *_diffusers(), *_monai()):
        library = build.keywords["package"].partition(".")[0]
        yield Model(library, name, library, build)
    for name in NAMES["ultralytics"]:
        yield Model("ultralytics", name, "ultralytics", partial(_ultralytics, name))
    for name in NAMES["classification"]:
        yield Model(
            "torchvision", name, "torchvision", partial(_torchvision, name, _image(299 if "inception" in name else 224))
        )
    for name in NAMES["segmentation"]:
        yield Model("torchvision", name, "torchvision", partial(_torchvision, name, _image(96)))
    for name in NAMES["video"]:
        yield Model("torchvision", name, "torchvision", partial(_torchvision, name, (1, 3, 16, 64, 64)))
    for name in NAMES["detection"]:
        yield Model("torchvision", name, "torchvision", partial(_detection, name), torch.float64)
    for name in NAMES["timm"]:
        yield Model("timm", name, "timm", partial(_timm, name))


def _image(side: int) -> tuple[int, ...]:
    return 2, 3, side, side


def _timm(name: str) -> Built:
    timm = import_module("timm")
    model = timm.create_model(name, num_classes=10).eval()
    config = model.pretrained_cfg
    side = config["input_size"][-1]
    if not config.get("fixed_input_size"):
        try:
            with torch.no_grad():
                model(torch.zeros(1, 3, SMALLEST_SIDE, SMALLEST_SIDE))
            side = SMALLEST_SIDE
        except Exception:  # a model says in its own way that it cannot take this size
            pass
    return model, (torch.randn(_image(side)),)


def _torchvision(name: str, shape: tuple[int, ...]) -> Built:
    options: dict[str, Any] = {"weights": None}
    if name in NAMES["segmentation"]:
        options["weights_backbone"] = None
    elif name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": True}
    return import_module("torchvision.models").get_model(name, **options), (torch.randn(shape),)


def _detection(name: str) -> Built:
    sizes = {} if "ssd" in name else {"min_size": 128, "max_size": 160}
    options = {"weights": None, "weights_backbone": None, "num_classes": 2 if "keypoint" in name else 5, **sizes}
    model = import_module("torchvision.models").get_model(name, **options)
    return model, ([torch.rand(3, 120, 150, dtype=torch.float64)],)


def _smp(name: str) -> Built:
    architecture = getattr(import_module("segmentation_models_pytorch"), name)
    return architecture("resnet18", encoder_weights=None), (torch.randn(_image(128 if name == "PAN" else 96)),)


def _ultralytics(name: str) -> Built:
    kind = import_module("ultralytics").RTDETR if "rtdetr" in name else import_module("ultralytics").YOLO
    return kind(f"{name}.yaml").model, (torch.rand(_image(64)),)


def _configured(package: str, name: str, config: dict[str, Any], inputs: tuple[Any, ...]) -> Built:
    """Build a model of transformers from its configuration class."""
    module = import_module(package)
    stem = next(name.removesuffix(end) for end in ("ForSemanticSegmentation", "VisionModel", "Model") if end in name)
    made = getattr(module, f"{stem}{'VisionConfig' if 'VisionModel' in name else 'Config'}")(**config)
    return getattr(module, name)(made), inputs


def _called(package: str, name: str, config: dict[str, Any], inputs: tuple[Any, ...]) -> Built:
    """Build a model whose constructor takes its configuration."""
    return getattr(import_module(package), name)(**config), inputs


def _transformers() -> Iterator[tuple[str, "partial[Built]"]]:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    vision = small | {"image_size": 64, "patch_size": 16}
    stages = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
    image, sound = (torch.randn(_image(64)),), (torch.randn(2, 4000),)
    cases: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
        ("ViTModel", vision, image),
        ("BeitModel", vision, image),
        ("DeiTModel", vision, image),
        ("Dinov2Model", vision | {"patch_size": 8}, image),
        ("SiglipVisionModel", vision, image),
        ("CLIPVisionModel", vision, image),
        ("DPTModel", vision | {"is_hybrid": False, "backbone_out_indices": [0, 0, 1, 1]}, image),
        ("ConvNextModel", stages, image),
        ("ConvNextV2Model", stages, image),
        ("ResNetModel", stages | {"embedding_size": 8, "layer_type": "basic"}, image),
        ("RegNetModel", stages | {"embedding_size": 8, "groups_width": 8}, image),
        ("MobileNetV2Model", {}, image),
        ("PoolFormerModel", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}, image),
        ("PvtV2Model", {"hidden_sizes": [8, 16, 40, 64], "depths": [1, 1, 1, 1]}, image),
        ("SegformerForSemanticSegmentation", stages | {"decoder_hidden_size": 16}, image),
        ("SwinModel", {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2]}, image),
        ("Wav2Vec2Model", small | {"num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}, sound),
        ("HubertModel", small | {"num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}, sound),
        ("EncodecModel", {"hidden_size": 16, "num_filters": 4, "codebook_dim": 16}, (torch.randn(1, 1, 3200),)),
    ]
    for name, config, inputs in cases:
        yield name, partial(_configured, package="transformers", name=name, config=config, inputs=inputs)


def _diffusers() -> Iterator[tuple[str, "partial[Built]"]]:
    time, text = torch.tensor([3]), torch.randn(2, 4, 16)
    two = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    down, up = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
    crossed = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "cross_attention_dim": 16,
               "attention_head_dim": 4, "layers_per_block": 1}  # fmt: skip
    coder = two | {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    latent, image = torch.randn(2, 4, 16, 16), torch.randn(2, 3, 32, 32)
    cases: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
        ("UNet2DModel", two | {"down_block_types": down, "up_block_types": up, "attention_head_dim": 4}, (image, time)),
        ("UNet2DConditionModel", two | crossed | {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")},
         (latent, time, text)),
        ("AutoencoderKL", coder, (image,)),
        ("VQModel", coder | {"num_vq_embeddings": 16}, (image,)),
        ("AutoencoderTiny", {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}, (image,)),
        ("DiTTransformer2DModel", {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "num_layers": 1,
         "sample_size": 16, "norm_num_groups": 4}, (latent, torch.tensor([3, 3]), torch.tensor([1, 2]))),
    ]  # fmt: skip
    for name, config, inputs in cases:
        yield name, partial(_called, package="diffusers", name=name, config=config, inputs=inputs)


def _monai() -> Iterator[tuple[str, "partial[Built]"]]:
    volume = (torch.randn(1, 1, 32, 32, 32),)
    one = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
    units = {"channels": (4, 8, 16), "strides": (2, 2)}
    dynamic = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    cases: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
        ("UNet", one | units, volume),
        ("BasicUNet", one | {"features": (4, 4, 8, 8, 16, 4)}, volume),
        ("AttentionUnet", one | units, volume),
        ("SegResNet", one | {"init_filters": 8}, volume),
        ("DynUNet", one | dynamic | {"filters": [4, 8, 16]}, volume),
        ("VNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}, volume),
        ("HighResNet", one, volume),
        ("DenseNet121", one, volume),
        ("UNETR", one | {"img_size": (32, 32, 32), "hidden_size": 24, "mlp_dim": 48, "num_heads": 2,
         "feature_size": 4}, volume),
        ("SwinUNETR", {"in_channels": 1, "out_channels": 2, "feature_size": 12}, volume),
    ]  # fmt: skip
    for name, config, inputs in cases:
        yield name, partial(_called, package="monai.networks.nets", name=name, config=config, inputs=inputs)
