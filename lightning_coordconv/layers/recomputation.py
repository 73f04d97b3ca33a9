"""Base class of modules that see coordinate frames, and are not run again without theirs in the backward pass."""

import torch
from torch import nn

from lightning_coordconv.layers._torch import backward_is_running
from lightning_coordconv.layers.frames import active_frame
from lightning_coordconv.layers.places import Field, Frame


class SeesFrames(nn.Module):
    """A module that sees the coordinates of the active frame.

    Activation checkpointing runs it again during the backward pass, mostly after the ``with`` block, or in a thread
    that knows of none: gradients would be those of other coordinates.

    Attributes:
        ran_in_frame: Whether it ran inside a frame when it ran last. Compiled code neither reads nor sets it.
    """

    ran_in_frame: bool = False

    def seen_frame(self) -> Frame | Field | None:
        """Return the active frame, if any.

        Raises:
            RuntimeError: If there is none in a backward pass, and the module ran inside one before.
        """
        frame = active_frame()
        if not torch.compiler.is_compiling() and self.ran_in_frame is not (frame is not None):
            if frame is None and backward_is_running():
                raise RuntimeError(
                    f"{type(self).__name__} ran inside a coordinate_frame or coordinate_field, and is run again "
                    "without it in the backward pass, as by activation checkpointing: pass the same block as "
                    "context_fn to torch.utils.checkpoint.checkpoint, with use_reentrant=False, or turn checkpointing "
                    "off"
                )
            self.ran_in_frame = frame is not None
        return frame
