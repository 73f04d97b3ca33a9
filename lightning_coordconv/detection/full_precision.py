"""Function that lets what a detector's networks compute in half precision leave them in single precision."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

HEADS = ("box_predictor", "mask_predictor", "keypoint_predictor")
"""Networks of the second stage whose outputs become boxes, masks and keypoints."""


def use_full_precision(detector: Any) -> None:
    """Let the maps and predictions of a detector leave its networks in float32 where autocast is on, in place.

    torchvision computes anchors and boxes in the dtype of maps and predictions. bfloat16 has 8 bits: places beyond 512
    pixels would be multiples of 4.

    Args:
        detector: torchvision's; it is given hooks.
    """
    second_stage = getattr(detector, "roi_heads", None)
    heads = [getattr(second_stage, name, None) for name in HEADS]
    head = detector.rpn.head if hasattr(detector, "rpn") else detector.head
    for module in (detector.backbone, head, *heads):
        if isinstance(module, nn.Module):
            module.register_forward_hook(_widen_output)


def _widen_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    return _widened(output)


def _widened(output: Any) -> Any:
    """Return tensors of half precision in float32, also in dicts, lists and tuples, if autocast made them so."""
    if isinstance(output, Tensor):
        half = output.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(output.device.type)
        return output.float() if half else output
    if isinstance(output, Mapping):
        return type(output)((name, _widened(value)) for name, value in output.items())  # type: ignore[call-arg]
    return type(output)(map(_widened, output)) if isinstance(output, list | tuple) else output
