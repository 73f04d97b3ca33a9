"""Function that sets the momentum of a network's batch norms to torch's default."""

from torch import nn


def use_momentum_of_torch(network: nn.Module) -> None:
    """Give batch norms of a network with random weights the momentum 0.1, torch's default.

    MobileNetV3 has 0.01 in torchvision, with which running statistics are still near their first values after 200
    steps: an LRASPP that was trained on 32 images had an IoU of 0 in its two classes, and of 0.75 with the statistics
    of the batch.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
