"""The README's code runs as it stands, on a smaller image and without a download."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code.count("\n") <= 26
    for shown, tested in (('weights="IMAGENET1K_V2"', "weights=None"), ("224", "64"), ("448", "128")):
        assert shown in code
        code = code.replace(shown, tested)
    scope = {"loader": [(torch.rand(2, 3, 64, 64), torch.tensor([1, 2]))]}
    exec(code, scope)
    assert capsys.readouterr().out.startswith("['conv1']")
    assert scope["coordinates"][0].abs().max() > 0
    torch.testing.assert_close(scope["folded"](scope["images"]), scope["model"](scope["images"]), rtol=1e-4, atol=1e-5)
    assert (tmp_path / "resnet50_coordconv.onnx").stat().st_size > 10_000
