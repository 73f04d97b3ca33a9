"""Tests that keys that the parser would ignore are refused, in configs, files that they refer to, and options."""

import re

import pytest

from lightning_coordconv.runtime import shipped_configs
from lightning_coordconv.runtime.config_files import files_of, read_config, read_option

DATA = "class_path: lightning_coordconv.coordinates.NotSoClevrDataModule\n"
SEED = r"the data get the seed of the run, so data.seed would have no effect: give seed_everything"
TWICE = "init_args: {batch_size: 8, batch_size: 16}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", r"line \d: this is no YAML file: "),
        ("data:\n\t- 1", "line 2: this is no YAML file: "),
        ("", "is no config: it must be a mapping"),
        ("- 1", "is no config: it must be a mapping"),
        ("trainer: {}\ntrainer: {}", "line 2: the key trainer occurs twice"),
        ("trainer:\n  callbacks:\n  - a: 1\n    a: 2", r"line 4: the key trainer.callbacks.0.a occurs twice"),
        ("trainer: {max_steps: 6}\ntrainer.max_steps: 3", r"the key trainer.max_steps occurs twice"),
        ("trainer.max_steps: 3\ntrainer: {max_steps: 6}", r"the key trainer.max_steps occurs twice"),
        ("data: {init_args: {size: 1}, size: 2}", "the key data.size occurs twice"),
        ("data: {init_args: {size: 1}}\ndata.init_args: {canvas: 2}", "the key data.init_args occurs twice"),
        ("data:\n  init_args:\n    seed: 1", f"line 3: {SEED}"),
        ("data: {seed: 1}", f"line 1: {SEED}"),
        ("data.seed: 1", f"line 1: {SEED}"),
        ("data.init_args: {seed: 1}", f"line 1: {SEED}"),
        ("data: {dict_kwargs: {seed: 1}}", f"line 1: {SEED}"),
        ("fit: {data: {init_args: {seed: 1}}}", f"line 1: {SEED}"),
    ],
)
def test_what_the_parser_would_pass_over_is_refused_with_its_line(text, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"config.yaml.*{message}"):
        shipped_configs.with_paths(["fit", "-c", str(path)])


@pytest.mark.parametrize(
    "text",
    [
        "trainer: {max_steps: 1}\ntrainer.max_epochs: 2",
        "trainer.callbacks: [{class_path: A, init_args: {a: 1}}, {class_path: A, init_args: {a: 2}}]",
        "fit: {trainer: {max_steps: 1}}\ntest: {trainer: {max_steps: 2}}",
        "model: {init_args: {a: 1, net: {init_args: {a: 2}}}}",
    ],
)
def test_keys_of_the_same_name_in_different_places_are_accepted(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert shipped_configs.with_paths(["fit", "-c", str(path)]) == ["fit", f"--config={path}"]


@pytest.mark.parametrize(
    ("text", "message"), [(TWICE, r"the key (fit.)?data.batch_size occurs twice"), ("seed: 7", SEED)]
)
@pytest.mark.parametrize("refers", ["data: part.yaml", "data: part", "fit: {data: part.yaml}", None])
def test_files_that_configs_and_options_refer_to_are_read_too(text, message, refers, tmp_path, monkeypatch):
    """Relative to the folder of the config, or to the current one for an option."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name in ("part", "part.yaml"):
        (folder / name).write_text(DATA + text)
    if refers is None:
        monkeypatch.chdir(folder)
        words = ["fit", "--data=part.yaml"]
    else:
        (folder / "config.yaml").write_text(refers)
        words = ["fit", "-c", str(folder / "config.yaml")]
    with pytest.raises(ValueError, match=f"part.*line 2: {message}"):
        shipped_configs.with_paths(words)


def test_a_file_of_a_class_within_a_class_is_read_and_other_files_are_not(tmp_path):
    (tmp_path / "net.yaml").write_text("class_path: Net\ninit_args: {mul: 1, mul: 2}\n")
    (tmp_path / "classes.yaml").write_text("names: {0: a, 0: b}\n")
    config = tmp_path / "config.yaml"
    config.write_text("data: {init_args: {root: classes.yaml}}\n")
    assert files_of(read_config(config)) == [config]
    config.write_text("model: {init_args: {net: net.yaml}}\n")
    with pytest.raises(ValueError, match=r"net.yaml, line 2: the key model.net.mul occurs twice"):
        read_config(config)


def test_the_files_of_a_config_are_all_that_the_parser_reads(tmp_path):
    (tmp_path / "net.yaml").write_text("class_path: Net\n")
    (tmp_path / "model.yaml").write_text("class_path: Task\ninit_args: {net: net.yaml}\n")
    config = tmp_path / "config.yaml"
    config.write_text("model: model.yaml\n")
    assert files_of(read_config(config)) == [config, tmp_path / "model.yaml", tmp_path / "net.yaml"]
    assert files_of(read_option("--model", str(tmp_path / "model.yaml"))) == [
        tmp_path / "model.yaml", tmp_path / "net.yaml"
    ]  # fmt: skip


def test_aliases_are_read_once(tmp_path):
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    assert len(read_config(path)) == 30


def test_every_config_passes():
    counts = {name: len(read_config(shipped_configs.CONFIGS / f"{name}.yaml")) for name in shipped_configs.names()}
    assert counts
    assert min(counts.values()) > 0


SPELLINGS = [
    ["--data.seed", "3"], ["--data.seed=3"], ["--data.init_args.seed", "3"], ["--data.init_args.seed=3"],
    ['--data.init_args={"seed": 3}'], ["--data", f"{{{DATA.strip()}, init_args: {{seed: 3}}}}"],
    ["--data.dict_kwargs={seed: 3}"], ["--data.init_args.seed+=3"],
]  # fmt: skip


@pytest.mark.parametrize("words", SPELLINGS, ids=" ".join)
def test_an_option_without_effect_is_refused_in_every_spelling(words):
    with pytest.raises(ValueError, match=SEED):
        shipped_configs.with_paths(["fit", *words])


@pytest.mark.parametrize("words", [["--a"], ["--a="], ["--a", "["], ["--a=x: y: z"], ["--a=- 1"], ["--data", "-"]])
def test_other_options_are_left_to_the_parser(words):
    assert shipped_configs.with_paths(["fit", *words]) == ["fit", *words]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--data.size=2"], "data.size"),
        (["--data.init_args.size", "2"], "data.size"),
        (["--data", "{init_args: {size: 2}}"], "data.size"),
        (["--data", "mine.Data"], "data"),
        (["--data.class_path=mine.Data"], "data"),
        (["--trainer.callbacks+=mine.Callback"], "trainer.callbacks"),
    ],
)
def test_an_option_that_a_later_config_overrides_is_refused(words, name, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data: {class_path: Data, init_args: {size: 1}}\ntrainer: {callbacks: []}\n")
    option = words[0].partition("=")[0]
    with pytest.raises(ValueError, match=f"^{re.escape(option)} has no effect before {path}, which sets {name}: "):
        shipped_configs.with_paths(["fit", *words, "-c", str(path)])
    assert shipped_configs.with_paths(["fit", "-c", str(path), *words]) == ["fit", f"--config={path}", *words]
    others = ["--data.other=2", "--trainer.max_steps", "3", "--model=mine.Model"]
    assert shipped_configs.with_paths([*others, "-c", str(path)]) == [*others, f"--config={path}"]
