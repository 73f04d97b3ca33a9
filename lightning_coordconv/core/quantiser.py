"""A torchao Quantizer and a function that quantise a network's convolutions and linear layers to INT8, not coordinates.

Source: the tutorial "PyTorch 2 Export Post Training Quantization" of torchao. Its quantisers for x86 and ARM would also
quantise coordinates: a convolution of the coordinate grid looks to them like any other.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from lightning_coordconv.core.export import Exportable, explained, quiet, to_program
from lightning_coordconv.core.extras import extra

with extra("int8", "INT8 exports"), quiet():
    from torchao.quantization.pt2e import HistogramObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationSpec, Quantizer, annotate_input_qspec_map

ACTIVATIONS = QuantizationSpec(torch.int8, HistogramObserver, -128, 127, torch.per_tensor_affine)
WEIGHTS = QuantizationSpec(torch.int8, PerChannelMinMaxObserver, -127, 127, torch.per_channel_symmetric, ch_axis=0)
QUANTISED = (torch.ops.aten.conv1d.default, torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
TOLERANCE = 0.1
"""Allowed difference between a file and the quantised network. Runtimes that compute in integers round differently: the
largest that onnxruntime 1.32 made in a ResNet-18 of random weights was 0.015."""


class ImageLayersQuantizer(Quantizer):  # type: ignore[misc]  # torchao's types are not followed
    """Quantises the inputs and weights of the convolutions and linear layers that depend on the image.

    All else stays in float32. The coordinate grid does not depend on the image, only on its size: 256 levels could not
    tell neighbouring pixels of large images apart.
    """

    def annotate(self, model: GraphModule) -> GraphModule:
        """Say which inputs of which nodes are quantised."""
        of_image: set[Node] = set()
        for node in model.graph.nodes:
            reads_image = node.target != torch.ops.aten.sym_size.int and of_image.intersection(node.all_input_nodes)
            if node.op == "placeholder" or reads_image:
                of_image.add(node)
            if node.target in QUANTISED and node.args[0] in of_image:
                annotate_input_qspec_map(node, node.args[0], ACTIVATIONS)
                annotate_input_qspec_map(node, node.args[1], WEIGHTS)
        return model

    def validate(self, model: GraphModule) -> None:
        """Accept every graph."""


@torch.no_grad()
def quantise(exportable: Exportable, batches: Iterable[Tensor]) -> Exportable:
    """Return a network whose convolutions and linear layers have INT8 weights and inputs.

    Batch normalisation is merged into the convolution before it, except behind a coordinate bias.

    Args:
        exportable: the network; it is left as it is.
        batches: images (B, C, H, W) in [0, 1], in which the ranges of the inputs are observed.

    Raises:
        ExportError: if the network cannot be exported or quantised, or does not take the images.
    """
    with quiet(), explained("the network cannot be quantised"):
        observed = prepare_pt2e(to_program(exportable).module(), ImageLayersQuantizer())
        for images in batches:
            observed(images)
        quantised: GraphModule = convert_pt2e(observed)
        _drop_unused(quantised)
    return replace(exportable, module=quantised, tolerance=TOLERANCE)


def _drop_unused(module: nn.Module) -> None:
    """Delete the float32 weights that integers have replaced, which a file would hold beside them."""
    assert isinstance(module, GraphModule)
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in {**dict(module.named_parameters()), **dict(module.named_buffers())}:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
