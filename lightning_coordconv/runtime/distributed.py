"""Ranks that Lightning starts on one machine meet on its loopback interface, where no other machine can reach them."""

import atexit
import os
import socket

import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer

ADDRESS = "127.0.0.1"


def rendezvous_on_localhost(trainer: Trainer) -> object | None:
    """Open the store at which a trainer's ranks are to meet, and point gloo and NCCL to the loopback interface.

    The store that torch opens by itself listens on all interfaces; it takes this one in its place, as long as this one
    is kept. Nothing is done where the user, torchrun or SLURM has said where ranks meet, or there are several nodes.

    Args:
        trainer: has not started its ranks yet.

    Returns:
        The store, to be kept; ``None`` where nothing is done.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started = isinstance(environment, LightningEnvironment) and environment.creates_processes_externally
    if not isinstance(environment, LightningEnvironment) or started:
        return None
    if trainer.num_nodes > 1 or "MASTER_ADDR" in os.environ:
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not listed, and not in every build of torch

    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    listening = socket.create_server((ADDRESS, int(os.environ.get("MASTER_PORT", 0))))
    port = listening.getsockname()[1]
    os.environ["MASTER_PORT"] = str(port)
    return TCPStore(
        ADDRESS,
        port,
        is_master=True,
        wait_for_workers=False,
        multi_tenant=True,  # so that torch takes it for its own port
        master_listen_fd=listening.detach(),
    )


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
