"""Function that fuses batch norm into the CoordConv layer, folded layer or convolution before it, for inference."""

from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

from lightning_coordconv.layers._torch import ConvNd, has_forward_hooks, overridden
from lightning_coordconv.layers.arguments import check_module
from lightning_coordconv.layers.base import CoordConvNd
from lightning_coordconv.layers.fold import FOLDED, FoldedConvNd
from lightning_coordconv.layers.guards import check_forward
from lightning_coordconv.layers.reparametrized import copy_module, make_weights_permanent
from lightning_coordconv.layers.variants import plain_class

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
ConvT = TypeVar("ConvT", bound=nn.Module)
BatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def fuse_conv_bn(conv: ConvT, bn: BatchNorm) -> ConvT:
    """Return a copy of a convolution that computes what batch norm in eval mode makes of its output.

    What ``torch.nn.utils.fusion.fuse_conv_bn_eval`` does for plain convolutions, for CoordConv and folded layers too:
    the coordinate weights, or the stored coordinate biases, are scaled as the weight is. Groups, transposed layers and
    layers without a bias are allowed.

    Args:
        conv: A CoordConv layer, a layer of :func:`fold_coordconv`, or a plain convolution, in eval mode.
        bn: Batch norm over the output of ``conv``, in eval mode, with running statistics.

    Returns:
        The fused copy; ``conv`` and ``bn`` are left as they are.

    Raises:
        TypeError: If ``bn`` is not batch norm as torch computes it, or ``conv`` is not a convolution, or its class
            computes it in another way, e.g. with a standardised weight, which would undo the scaling.
        ValueError: If a hook acts on the output of one of them, which it may change; if one of them is in training
            mode, ``bn`` has no running statistics, or their channels differ.
    """
    with torch.no_grad():
        check_module("conv", conv)
        check_module("bn", bn, NORMS)
        if type(bn).forward not in [kind.forward for kind in NORMS]:
            raise TypeError(
                f"bn is a {type(bn).__name__}, whose forward is not that of torch's batch norm: fuse it by hand"
            )
        fused: Any = copy_module(conv)
        if isinstance(fused, ConvNd):
            make_weights_permanent(fused)
        _check(fused, bn)
        scale = torch.rsqrt(cast(Tensor, bn.running_var) + bn.eps)
        scale = scale if bn.weight is None else scale * bn.weight
        shift = -cast(Tensor, bn.running_mean) * scale
        shift = shift if bn.bias is None else shift + bn.bias
        fused.weight.copy_(_scaled(fused.weight, scale, fused.groups, fused.transposed))
        if isinstance(fused, FoldedConvNd):
            per_channel = [1, -1, *[1] * len(fused.kernel_size)]
            for name in fused.folded_sizes:
                bias = fused.get_buffer(name)
                bias.copy_(bias * scale.view(per_channel) + shift.view(per_channel))
            return cast(ConvT, fused)
        if isinstance(fused, CoordConvNd):
            fused.coord_weight.copy_(_scaled(fused.coord_weight, scale, 1, fused.transposed))
        bias = shift if fused.bias is None else fused.bias * scale + shift
        fused.bias = nn.Parameter(bias.to(fused.weight.dtype), requires_grad=fused.weight.requires_grad)
        return cast(ConvT, fused)


def _scaled(weight: Tensor, scale: Tensor, groups: int, transposed: bool) -> Tensor:
    """Scale each output channel of a weight."""
    ones = [1] * (weight.dim() - 2)
    if not transposed:
        return weight * scale.view(-1, 1, *ones)
    # In a transposed weight (inputs, outputs of a group, ...), the inputs of a group have outputs of their group only.
    grouped = weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, *ones)
    return grouped.flatten(0, 1)


def _check(conv: Any, bn: BatchNorm) -> None:
    torch_class = next((plain for plain in FOLDED if isinstance(conv, plain)), None)
    kind: Any = type(conv)
    if isinstance(conv, CoordConvNd):
        kind = plain_class(kind)
    elif isinstance(conv, FoldedConvNd):
        kind = kind.__bases__[1]
    if torch_class is None or kind is None or overridden(kind, torch_class):
        raise TypeError(
            f"cannot fuse batch norm into {type(conv).__name__}: expected a CoordConv layer, a folded layer or a "
            "convolution of torch that computes with its weight as it is"
        )
    for module in (conv, bn):
        if type(module).__call__ is not nn.Module.__call__:
            raise TypeError(f"{type(module).__name__} overrides __call__, which can change its output: fuse it by hand")
    check_forward(conv, type(conv).__name__)
    check_forward(bn, type(bn).__name__)
    if has_forward_hooks(conv) or has_forward_hooks(bn, before=True) or has_forward_hooks(bn):
        raise ValueError("a forward hook acts on the output of the convolution or the batch norm: remove it first")
    if conv.training or bn.training:
        raise ValueError("fusing is for inference: call eval() on the convolution and the batch norm first")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("the batch norm has no running statistics (track_running_stats=False), so it cannot be fused")
    if bn.num_features != conv.out_channels:
        raise ValueError(f"the batch norm has {bn.num_features} channels, but the convolution has {conv.out_channels}")
