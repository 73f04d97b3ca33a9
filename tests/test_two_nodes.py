"""Two agents of torchrun that meet on loopback, as two nodes of one process each, train one network."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from tests.test_configs import CONFIGS, STEPS

ROOT = CONFIGS.parent


class KeepWeights(Callback):
    """Writes the weights of every rank: the checkpoint has those of the first alone."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(pl_module.net.state_dict(), f"rank{trainer.global_rank}of{trainer.world_size}.pt")


def start_node(config: str, port: int, folder: Path) -> subprocess.Popen[str]:
    """Start a node's agent; the one that gets hold of the port is where they meet."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
                "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test",
                "--local-addr=127.0.0.1", "--module"]  # fmt: skip
    fit = ["lightning_coordconv", "fit", "--config", str(CONFIGS / f"{config}.yaml"), *STEPS,
           "--trainer.val_check_interval=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp",
           "--trainer.devices=1", "--trainer.num_nodes=2", f"--trainer.callbacks+={__name__}.KeepWeights"]  # fmt: skip
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback}
    return subprocess.Popen(
        [*torchrun, *fit], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("config", ["coordinates/classification_quadrant_coordconv"])
def test_two_nodes(config, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    nodes = [start_node(config, port, tmp_path) for _ in range(2)]
    try:
        outputs = [node.communicate(timeout=180)[0] for node in nodes]
    finally:
        for node in nodes:
            node.terminate()  # as its agent, it ends its worker
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(outputs)

    weights, others = (torch.load(tmp_path / f"rank{rank}of2.pt", weights_only=True) for rank in range(2))
    (run,) = (tmp_path / "logs" / config).iterdir()
    assert json.loads((run / "summary.json").read_text())["ranks"] == 2
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    for key, value in weights.items():
        assert torch.equal(value, others[key]), key
        assert torch.equal(value, checkpoint["state_dict"][f"net.{key}"]), key
