"""Every shipped config on two ranks: no parameter goes unused, and all ranks end with the same weights."""

import pytest
import torch
import yaml

from tests.runtime.distributed import ranks
from tests.test_configs import ALL, CONFIGS, STEPS, agents, extra


@pytest.mark.slow
@pytest.mark.parametrize("domain", sorted({path.parent.name for path in ALL}))
def test_ranks_end_with_the_same_weights(domain, tmp_path, request):
    configs = sorted(CONFIGS.glob(f"{domain}/*.yaml"))
    jobs = []
    for path in configs:
        more = agents(path) if domain == "rl" else ["--data.eval_batch_size=4", *extra(path, request)]
        if yaml.safe_load(path.read_text())["data"]["init_args"].get("batch_size") == 1:
            more.append("--data.batch_size=2")
        weights = [f"--trainer.callbacks+={ranks.__name__}.Weights", f"--trainer.callbacks.folder={path.stem}"]
        jobs += [";", "fit", f"--config={path}", *STEPS, *more, *ranks.DDP, "--trainer.devices=2", *weights]
    ranks.Ranks(2, ["-m", ranks.__name__, *map(str, jobs[1:])], tmp_path).end_with(0)
    for path in configs:
        first, second = (torch.load(tmp_path / path.stem / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
        for key in first["parameters"]:  # batch norm's averages may be each rank's own
            assert torch.equal(first["weights"][key], second["weights"][key]), (path, key)
            assert first["weights"][key].isfinite().all(), (path, key)
