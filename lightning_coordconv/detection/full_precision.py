"""Function that lets what a detector's networks compute in half precision leave them in single precision."""

from typing import Any

from torch import is_autocast_enabled, nn
from torch.amp import is_autocast_available

from lightning_coordconv.core.full_precision import in_full_precision

PARTS = (
    "backbone", "rpn.head", "head",
    "roi_heads.box_predictor", "roi_heads.mask_predictor", "roi_heads.keypoint_predictor",
)  # fmt: skip
"""Networks from whose outputs torchvision computes anchors, boxes and masks; each detector has some of them."""


def use_full_precision(detector: nn.Module) -> None:
    """Let the maps and predictions of a detector leave its networks in float32 where autocast is on, in place.

    torchvision computes anchors and boxes, true ones too, in the dtype of maps and predictions. bfloat16 has 8 bits:
    places beyond 512 pixels would be multiples of 4.

    Args:
        detector: torchvision's; it is given hooks.
    """
    for name, module in detector.named_modules():
        if name in PARTS:
            module.register_forward_hook(_widen)


def _widen(module: nn.Module, inputs: Any, output: Any) -> Any:
    device = next(module.parameters()).device.type
    mixed = is_autocast_available(device) and is_autocast_enabled(device)
    return in_full_precision(output) if mixed else output
