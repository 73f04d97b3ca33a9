"""Base class of modules that see coordinate frames, and are not run again without theirs in the backward pass."""

import torch
from torch import nn

from lightning_coordconv.layers.frames import active_frame, frame_may_be_another
from lightning_coordconv.layers.places import Field, Frame


class SeesFrames(nn.Module):
    """A module that sees the coordinates of the active frame.

    Activation checkpointing runs it again during the backward pass, mostly after the ``with`` block, or in a thread
    that knows of none, or inside another block: gradients would be those of other coordinates.

    Attributes:
        ran_in_frame: Whether it ever ran inside a frame in training: which of its runs is run again, nothing says.
            Compiled code neither reads nor sets it.
    """

    ran_in_frame: bool = False

    def seen_frame(self) -> Frame | Field | None:
        """Return the active frame, if any.

        Raises:
            RuntimeError: In a backward pass that did not enter it, or where there is none and the module ran inside one
                before.
        """
        frame = active_frame()
        if not torch.compiler.is_compiling() and (frame is not None or self.ran_in_frame):
            if frame_may_be_another():
                where = (
                    "without the coordinate_frame or coordinate_field that it ran inside"
                    if frame is None
                    else "inside a coordinate_frame or coordinate_field that was entered before, which may be another"
                )
                raise RuntimeError(
                    f"{type(self).__name__} is run again in a backward pass, as by activation checkpointing, {where}: "
                    "pass the block of the first run as context_fn to torch.utils.checkpoint.checkpoint, with "
                    "use_reentrant=False, or turn checkpointing off"
                )
            if frame is not None and (self.training or torch.is_grad_enabled()):
                self.ran_in_frame = True
        return frame
