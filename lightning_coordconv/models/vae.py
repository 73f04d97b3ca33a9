"""The encoder of a VAE; its decoders are the generators of :mod:`lightning_coordconv.models.gan`."""

from torch import Tensor, nn

from lightning_coordconv.models.gan import doublings, halvings
from lightning_coordconv.models.initialisation import glorot_uniform_


class ConvEncoder(nn.Module):
    """The trunk of DCGAN's discriminator, and a dense layer. Ours: the paper does not describe its VAE.

    Args:
        latent_size: length of the latent vectors.
        canvas: height and width of the images in pixels, a power of two.
        width: channels of the first map.
        coordinates: make the first convolution a CoordConv.

    Raises:
        ValueError: for a canvas that is no power of two from 8 on.
    """

    def __init__(self, latent_size: int = 32, canvas: int = 64, width: int = 64, coordinates: bool = False) -> None:
        super().__init__()
        self.layers = halvings(canvas, width, coordinates, batch_norm=True)
        self.describe = nn.Linear(16 * doublings(canvas, width)[-1], 2 * latent_size)
        glorot_uniform_(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) to means and logarithms of variances, both (B, latent_size)."""
        mean, log_variance = self.describe(self.layers(image)).chunk(2, dim=1)
        return mean, log_variance
