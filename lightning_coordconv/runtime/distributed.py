"""Functions that connect the ranks of one machine over its loopback interface, and shut down their process group."""

import atexit
import os
import socket

import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer

ADDRESS = "127.0.0.1"


def rendezvous_on_localhost(trainer: Trainer) -> object | None:
    """Open the rendezvous store of a trainer's ranks on localhost, and make gloo and NCCL use the loopback interface.

    The store that torch opens listens on all interfaces. torch uses this one instead, for as long as it exists. Nothing
    is done if the user, torchrun or SLURM has chosen a rendezvous, or if there are several nodes.

    Args:
        trainer: has not started its ranks yet.

    Returns:
        The store, which the caller must keep; ``None`` if nothing was done.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started = isinstance(environment, LightningEnvironment) and environment.creates_processes_externally
    if not isinstance(environment, LightningEnvironment) or started:
        return None
    if trainer.num_nodes > 1 or "MASTER_ADDR" in os.environ:
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # untyped, and missing in some builds of torch

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
        multi_tenant=True,  # lets torch use it for its own port
        master_listen_fd=listening.detach(),
    )


def destroy_process_group_at_exit() -> None:
    """Destroy the process group before the interpreter exits. Lightning does so for NCCL only.

    Call it when no communication is pending: gloo's threads finish theirs before they end. A thread of gloo that
    outlives the interpreter, and still holds tensors of the last collective call, aborts the process as it frees them,
    although all work is done. The threads end only if nothing else refers to the group; a first import of
    ``torch.distributed.nn`` after the group was made would, through default arguments. Lightning imports it before.
    """
    atexit.register(_destroy)


def _destroy() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
