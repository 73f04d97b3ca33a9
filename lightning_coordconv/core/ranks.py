"""Function that gathers one object from each process (rank) of a distributed run on all of them."""

from typing import TypeVar

import torch.distributed as dist

Part = TypeVar("Part")


def gathered(part: Part) -> list[Part]:
    """Return the objects of all ranks, in the order of the ranks, on every rank. All ranks must call it.

    Args:
        part: the object of this rank, which is the only one if the run is not distributed.
    """
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    parts = [part] * ranks
    if ranks > 1:
        dist.all_gather_object(parts, part)
    return parts
