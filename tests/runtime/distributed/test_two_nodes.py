"""Test that two torchrun launchers, as two nodes of one process each, train one network together."""

import json
import socket

import pytest
import torch

from tests.runtime.distributed.ranks import DDP, Ranks, Weights
from tests.test_configs import STEPS, smoke


@pytest.mark.slow
@pytest.mark.parametrize("config", ["coordinates/classification_quadrant_coordconv", "detection/proposals_coordconv"])
def test_two_nodes(config, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d",
                f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test", "--local-addr=127.0.0.1"]  # fmt: skip
    fit = ["--module", "lightning_coordconv", "fit", f"--config={config}", *STEPS, *smoke(config), *DDP,
           "--trainer.val_check_interval=2", "--trainer.devices=1", "--trainer.num_nodes=2",
           f"--trainer.callbacks+={Weights.__module__}.Weights", "--trainer.callbacks.folder=weights"]  # fmt: skip
    Ranks(2, [*torchrun, *fit], tmp_path).end_with(0)

    first, second = (torch.load(tmp_path / "weights" / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    (run,) = (tmp_path / "logs" / config).iterdir()
    assert json.loads((run / "summary.json").read_text())["ranks"] == 2
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    for key, weight in checkpoint["state_dict"].items():
        assert torch.equal(first["weights"][key], weight), key
        assert torch.equal(second["weights"][key], weight), key
