"""The end of a rank."""

import atexit

import torch.distributed as dist


def destroy_process_group_at_exit() -> None:
    """Have the process group end before the interpreter does, which Lightning sees to for NCCL alone.

    To be called when nothing is left to exchange: the end of gloo's threads waits for what is under way. Left to
    themselves they can outlive the interpreter. One that still holds tensors of the last exchange then needs it to free
    them, which aborts the process, though all its work is done. They end if nobody else holds the group: a first import
    of ``torch.distributed.nn`` after the group was made would, in default arguments; Lightning imports it before.
    """
    atexit.register(_destroy)


def _destroy() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
