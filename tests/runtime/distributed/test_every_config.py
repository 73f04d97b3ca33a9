"""Test that every shipped config and overlay trains on two ranks, which end with the same weights."""

import pytest
import torch
import yaml

from tests.runtime.distributed import ranks
from tests.test_configs import EXPERIMENTS, STEPS, smoke

DOMAINS = sorted({name.partition("/")[0] for name in EXPERIMENTS})


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("domain", DOMAINS)
def test_ranks_end_with_the_same_weights(domain, tmp_path):
    once = {paths[-1]: name for name, paths in EXPERIMENTS.items() if name.startswith(f"{domain}/")}
    experiments = list(once.values())  # an overlay with one of its configs
    jobs = []
    for name in experiments:
        configs = [yaml.safe_load(path.read_text()) for path in EXPERIMENTS[name]]
        weights = [f"--trainer.callbacks+={ranks.__name__}.Weights", f"--trainer.callbacks.folder=weights/{name}"]
        more = smoke(name)
        if configs[-1].get("data", {}).get("init_args", {}).get("batch_size") == 1:
            more.append("--data.batch_size=2")
        more += ["--trainer.devices=2", "--figures=false"]
        jobs += [";", "fit", f"--config={name}", *STEPS, *more, *ranks.DDP, *weights]
    ranks.Ranks(2, ["-m", ranks.__name__, *jobs[1:]], tmp_path).end_with(0, timeout=120 * len(experiments))
    for name in experiments:
        folder = tmp_path / "weights" / name
        first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
        for key in first["parameters"]:  # batch norm's averages may be each rank's own
            assert torch.equal(first["weights"][key], second["weights"][key]), (name, key)
            assert first["weights"][key].isfinite().all(), (name, key)
