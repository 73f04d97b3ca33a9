"""Tests of the position benchmark: its synthetic data, networks, arms, runs, advice, and tables of results."""

import dataclasses
import json
import math
from typing import get_args

import pytest
import torch
from scipy import stats
from torch import Generator, nn

from benchmarks import results
from benchmarks.position import advice, agents, configs, foreign, objects, patches, plan, run, sensor, tables
from benchmarks.position.arms import ARMS, ArmName, convert
from benchmarks.position.configs import TASKS
from benchmarks.position.networks import DenseNet2d, HeatMapRegressor, SignalClassifier, SoftArgmax2d
from benchmarks.position.scattered_digits import OneOrTwoClasses
from lightning_coordconv.classification import ImageFolderDataModule
from lightning_coordconv.layers import AddCoords, coordconv_layers
from lightning_coordconv.position import advise, place
from lightning_coordconv.position.command import load_model

COUNTS = {"train": 128, "val": 20, "test": 40, "predict": 40}
DETECTION = ("detection", "detection_sides")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    counts = dict(COUNTS)
    for module in (sensor, objects, patches):
        monkeypatch.setattr(module, "COUNTS", counts)
    yield
    run.make_data.cache_clear()


def generator() -> Generator:
    return Generator().manual_seed(0)


def convolutions(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_one_step_of_each_arm_runs(name):
    """On a batch of the task's data, with gradients for the coordinate weights of every arm that has some."""
    task = TASKS[name]
    batch = next(iter(run.make_data(name, 0).train_dataloader()))
    for arm in task.arms:
        module = run.make_module(name, arm, seed=0)
        if name in DETECTION:
            loss = sum(module.net(list(batch["image"]), module.targets(batch)).values())
        else:
            loss = module.evaluate(batch)["loss"]
        assert torch.isfinite(loss), arm
        loss.backward()
        layers = coordconv_layers(module.net)
        assert (len(layers) > 0) == (ARMS[arm].where != "none")
        assert all(layer.coord_weight.grad.abs().max() > 0 for layer in layers.values()), arm


@pytest.mark.slow
@pytest.mark.parametrize("name", ["time_window", "masks_clevr"])
def test_a_run_writes_a_record_once(name, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    monkeypatch.setitem(TASKS, name, dataclasses.replace(TASKS[name], steps=2))
    run.run(name, "first", 3)
    record = json.loads((tmp_path / "position" / f"{name}_first" / "seed3.json").read_text())
    assert (record["experiment"], record["seed"], record["steps"]) == (f"position/{name}_first", 3, 2)
    assert f"test/{TASKS[name].metric}" in record["test"]
    assert f"val/{TASKS[name].metric}" in record["validation"]
    assert plan.is_done(name, "first", 3)
    assert run.run(name, "first", 3).endswith("done before")


def test_runs_come_with_the_seeds_outermost_and_encodings_last_with_three():
    planned = list(plan.runs([*TASKS, plan.AGENTS], list(range(5))))
    assert len(set(planned)) == len(planned)
    order = [(arm in plan.ENCODED, seed) for _, arm, seed in planned]
    assert order == sorted(order)
    seeds = {key: [seed for task, arm, seed in planned if (task, arm) == key] for key in {run[:2] for run in planned}}
    assert all(len(found) == (3 if arm in plan.ENCODED else 5) for (_, arm), found in seeds.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sensor", "wafers", "keypoint_heat_map", "digits_position", "time_window"])
def test_arms_of_a_seed_begin_with_the_same_weights(name):
    task = TASKS[name]
    nets = {arm: run.make_module(name, arm, seed=1).net for arm in task.arms}
    expected = nets["plain"].state_dict()
    for arm, net in nets.items():
        state = net.state_dict()
        assert all(torch.equal(state[key], value) for key, value in expected.items()), arm
        added = [key for key in state if key not in expected]
        assert all(key.endswith(("coord_weight", "encoding.values")) for key in added), arm
        modes = {module.padding_mode for module in convolutions(net)}
        assert modes == {"zeros" if ARMS[arm].zero_padding else "circular"}
    first = next(n for n, module in nets["first"].named_modules() if isinstance(module, nn.Conv1d | nn.Conv2d))
    assert list(coordconv_layers(nets["first"])) == [first]
    assert len(coordconv_layers(nets["advised"])) == 2
    for arm, limit in (("first", 1.1), ("advised", 1.15), ("first_fourier", 1.6)):
        assert weights(nets[arm]) < limit * weights(nets["plain"])


def weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_plain_arm_cannot_know_position_and_zero_padding_can():
    """Moving an image cyclically moves the output of the plain arm with it, and changes that of the other one."""
    image = torch.rand(1, 1, 16, 16, generator=generator())
    moved = image.roll((5, 3), (2, 3))
    for arm, equal in (("plain", True), ("zero_padding", False)):
        torch.manual_seed(0)
        net = convert(DenseNet2d(1, 2), ARMS[arm], [])
        same = torch.allclose(net(image).roll((5, 3), (2, 3)), net(moved), atol=1e-5)
        assert same == equal


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_configs_name_the_places_of_the_advice(name):
    """The rule of ``advise``, applied to the plain network, whether or not it advises to convert."""
    net, data = advice.subject(name)
    image = data.dataset("val")[0]["image"]
    found = place(net.eval(), lambda: net(image[None]))
    assert TASKS[name].model["init_args"]["advised"] == found.names


@pytest.mark.parametrize("name", TASKS)
def test_configs_have_a_title_arms_and_a_unit(name):
    task = TASKS[name]
    assert task.title
    assert {"zero_padding", "first", "advised"} <= set(task.arms)
    assert len(set(task.arms)) == len(task.arms)
    assert task.kind.unit


def test_a_config_names_only_arms_that_there_are():
    for path in configs.FOLDER.glob("*.yaml"):
        named = path.read_text().partition("Arms of the benchmark:")[2].partition(".\n")[0]
        assert tuple(word.strip(" #\n") for word in named.split(",")) == TASKS[path.stem].arms


def test_the_arms_of_the_option_are_those_of_the_table():
    assert get_args(ArmName) == tuple(ARMS)


def test_signals_and_their_rows_are_the_same_network():
    torch.manual_seed(0)
    one, two = SignalClassifier(1, 3), SignalClassifier(1, 3, as_rows=True)
    two.load_state_dict({key: value.view_as(two.state_dict()[key]) for key, value in one.state_dict().items()})
    signal = torch.randn(2, 1, 128)
    torch.testing.assert_close(one(signal), two(signal[:, :, None]))


def test_sensor_measures_less_far_from_the_middle():
    data = sensor.bumps("val", generator())
    for image, height, origin in zip(data["image"], data["height"], data["origin"], strict=True):
        row, column = divmod(int(height.argmax()), 32)
        i = (int(origin[0]) + row + 0.5) / 48 - 1
        j = (int(origin[1]) + column + 0.5) / 48 - 1
        expected = float(height.max()) * (1 - 0.35 * (i**2 + j**2) + 0.15 * i)
        assert float(image[0, row, column]) == pytest.approx(expected, abs=0.06)  # the noise has 0.01


class Function(nn.Module):
    """A network that computes a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def test_sensor_error_of_an_ideal_and_a_blind_network():
    data = sensor.bumps("val", generator())
    ideal, blind = Function(lambda image: data["height"]), Function(lambda image: image)
    assert float(sensor.SensorTask(ideal).score(data)[1].max()) == 0
    errors = sensor.SensorTask(blind).score(data)[1]
    assert 5 < float(errors.mean()) < 40


def test_wafers_class_is_the_distance_in_millimetres():
    for split, radii in (("train", {1.0, 1.5}), ("test", {0.75})):
        data = sensor.wafers(split, generator())
        for label, top, left, field in zip(*(data[k] for k in ("label", "top", "left", "millimetres")), strict=True):
            radius = float(field.max()) * 48 / 47
            assert min(abs(radius - r) for r in radii) < 1e-5
            distance = radius * math.hypot(float(top) / 24 - 1, float(left) / 24 - 1)
            assert (distance > 0.5) == bool(label)
            row, column = int(top), int(left)
            assert float(field[0, row, column]) == pytest.approx(radius * (float(top) / 24 - 1), abs=0.04)
            assert float(field[1, row, column]) == pytest.approx(radius * (float(left) / 24 - 1), abs=0.04)


def test_wafers_density_tells_the_class_in_four_of_five():
    sensor.COUNTS["train"] = 2000
    data = sensor.wafers("train", generator())
    row, column = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    near = torch.hypot(row - data["top"][:, None, None], column - data["left"][:, None, None]) < 3.5
    density = (data["image"][:, 0] * near).sum((1, 2)) / near.sum((1, 2))
    assert float(((density > 0.62).long() == data["label"]).float().mean()) == pytest.approx(0.8, abs=0.03)


def test_wafers_mostly_of_one_size_have_a_shortcut_that_the_test_has_not():
    """Beyond a third of the map's radius: 50 mm on wafers of 300 mm, 25 mm on those of the test."""
    sensor.COUNTS.update(train=2000, test=2000)
    right = {}
    for split in ("train", "test"):
        data = sensor.wafers_mostly_one_size(split, generator())
        share = torch.hypot(data["top"] / 24 - 1, data["left"] / 24 - 1)
        right[split] = float(((share > 1 / 3).long() == data["label"]).float().mean())
    assert right == {"train": pytest.approx(0.99, abs=0.01), "test": pytest.approx(0.58, abs=0.04)}


@pytest.mark.slow
@pytest.mark.parametrize("make", [objects.clevr_masks, objects.digit_masks])
def test_masks_say_the_cell_of_the_centre(make):
    data = make("val", generator())
    agreeing = total = 0
    for image, mask in zip(data["image"], data["mask"], strict=True):
        ink = image[0] > 0.25 if len(image) == 1 else image.min(0).values < 0.5
        assert torch.equal(mask > 0, ink)
        for label in mask.unique().tolist():
            if label == 0:
                continue
            rows, columns = (mask == label).nonzero().unbind(1)
            middle = [(int(values.min()) + int(values.max()) + 1) / 2 for values in (rows, columns)]
            row, column = divmod(label - 1, 4)
            total += 1
            # a digit's ink is not in the middle of its 14 x 14 pixels, and one square can hide a corner of another
            agreeing += all(8 * k - 3 <= m <= 8 * (k + 1) + 3 for k, m in zip((row, column), middle, strict=True))
    assert total > 30
    assert agreeing >= 0.95 * total


def test_sides_differ_in_nothing_but_their_place():
    objects.COUNTS["train"] = 600
    data = objects.sides("train", generator())
    mask, image = data["mask"], data["image"]
    columns = torch.arange(80).expand_as(mask)
    assert columns[mask == 1].max() < 40 <= columns[mask == 2].min()
    assert columns[mask == 1].min() >= 13
    assert 80 - 1 - columns[mask == 2].max() >= 12
    means = [image.movedim(1, -1)[mask == label].mean(0) for label in (1, 2)]
    torch.testing.assert_close(*means, atol=0.06, rtol=0)
    counts = [(mask == label).flatten(1).any(1).float().mean().item() for label in (1, 2)]
    assert counts == pytest.approx([0.75, 0.75], abs=0.08)


def test_keypoints_are_the_middle_of_the_red_pixels():
    data = objects.keypoints("val", generator())
    for image, xy in zip(data["image"], data["xy_scaled"], strict=True):
        rows, columns = ((image[0] > 0.5) & (image[2] < -0.5)).nonzero().unbind(1)
        middle = torch.stack([(values.min() + values.max() + 1) / 2 for values in (columns, rows)])
        torch.testing.assert_close((xy + 1) * 24, middle)


def test_spatial_softmax_finds_a_peak():
    heat = torch.full((1, 1, 8, 16), -50.0)
    heat[0, 0, 2, 11] = 50.0
    torch.testing.assert_close(SoftArgmax2d()(heat), torch.tensor([[11.5 / 8 - 1, 2.5 / 4 - 1]]))
    assert HeatMapRegressor(3)(torch.rand(2, 3, 48, 48)).shape == (2, 2)


@pytest.mark.slow
def test_detection_labels_follow_the_boxes_or_are_all_the_same():
    for label in ("side", "digit"):
        data = OneOrTwoClasses(label, num_images=8, num_eval_images=80, clip=True).dataset("val")
        for boxes, labels in zip(data.boxes, data.labels, strict=True):
            middle = boxes[:, [0, 2]].mean(1)
            assert torch.equal(labels, torch.where(middle < 32, 1, 2) if label == "side" else torch.ones_like(labels))


@pytest.mark.slow
def test_digits_of_the_null_say_nothing_of_their_cell():
    data = TASKS["digits_content"].make_data(0).dataset("train")
    assert torch.equal(data.labels, data.digits)
    table = torch.zeros(10, 4).index_put_((data.labels, data.cells), torch.ones(len(data)), accumulate=True)
    shares = table / table.sum(1, keepdim=True)
    assert float((shares - 0.25).abs().max()) < 0.06


def test_diffusion_sees_each_patch_in_the_frame_of_its_image():
    """The image is its own column coordinate, so what a patch shows must be the coordinate that a layer sees."""

    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.coordinates = AddCoords()

        def forward(self, noisy):
            scale = noisy.amax((1, 2, 3), keepdim=True) - noisy.amin((1, 2, 3), keepdim=True)
            self.image = noisy / scale  # what is shown is multiplied by a number that depends on the noise level
            self.grid = self.coordinates(noisy)[:, -1:]
            return noisy

    column = torch.linspace(-1, 1, 32).expand(5, 1, 32, 32)
    net = Seen()
    task = patches.DenoisingTask(net)
    for training, size, count in ((True, 16, 5), (False, 32, 5 * patches.LEVELS)):
        task.train(training)
        _, errors = task.score({"image": column * 1e6})
        assert net.image.shape == (count, 1, size, size)
        span = net.grid.amax((1, 2, 3), keepdim=True) - net.grid.amin((1, 2, 3), keepdim=True)
        torch.testing.assert_close(net.image, net.grid / span, atol=1e-3, rtol=0)
        assert errors.shape == (5,)


def test_time_window_class_is_the_third_with_the_pulse():
    data = patches.events("val", generator())
    for signal, label in zip(data["image"], data["label"], strict=True):
        time = int(signal.abs().argmax())
        assert 18 <= time < 110
        nearest = [abs(time - edge) for edge in (20 + 88 / 3, 20 + 176 / 3)]
        if min(nearest) > 3:  # noise can move the highest sample of a pulse
            assert int(label) == (time > 20 + 88 / 3) + (time > 20 + 176 / 3)


def test_differences_have_the_interval_of_the_paired_t_test():
    ours, theirs = {0: 0.8, 1: 0.9, 2: 0.7, 3: 0.85}, {0: 0.5, 1: 0.7, 2: 0.3, 3: 0.6, 4: 9.0}
    found = tables.difference(ours, theirs, lower=False)
    expected = stats.ttest_rel(list(ours.values()), list(theirs.values())[:4]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.verdict, found.pairs) == ("helps", 4)
    assert tables.difference(ours, theirs, lower=True).verdict == "hurts"
    assert tables.difference(ours, {k: v + 0.1 * (-1) ** k for k, v in ours.items()}, False).verdict == "no difference"
    assert tables.difference({0: 1.0, 1: 1.1}, {0: 0.0, 1: 0.1}, False).verdict == "too few seeds"


@pytest.mark.parametrize(
    ("convert", "verdict", "right"),
    [
        (True, "helps", True),
        (True, "no difference", False),
        (False, "no difference", True),
        (False, "hurts", True),
        (False, "helps", False),
        (None, "helps", False),
        (None, "no difference", False),
        (True, "too few seeds", None),
    ],
)
def test_advice_is_right_if_it_converts_where_converting_helps(convert, verdict, right):
    assert tables.is_right(convert, verdict) is right


def write_records(folder, experiment, metric, scores):
    for seed, value in enumerate(scores):
        path = folder / experiment / f"seed{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "seed": seed,
            "weights": 1000,
            "test": {f"test/{metric}": value},
            "validation": {f"val/{metric}": value},
        }
        path.write_text(json.dumps(record))


def test_tables_follow_from_records(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(advice, "FOLDER", tmp_path / "advice")
    for arm, scores in {
        "plain": (0.2, 0.25, 0.3),
        "zero_padding": (0.25, 0.25, 0.27),
        "first": (0.98, 1.0, 0.99),
        "advised": (0.99, 1.0, 1.0),
        "first_polar": (0.7, 0.8, 0.9),
        "first_radius": (0.6, 0.6, 0.6),
        "first_constants": (1.0, 1.0, 1.0),
    }.items():
        write_records(tmp_path / "runs", f"position/digits_position_{arm}", "top1", scores)
    write_records(tmp_path / "runs", agents.EXPERIMENTS["plain"], "reward", (0.1, 0.2, 0.3))
    (tmp_path / "advice").mkdir()
    (tmp_path / "advice" / "digits_position.json").write_text(
        json.dumps({"convert": True, "where": ["0", "4"], "encoding": None, "sentences": []})
    )
    row = next(line for line in tables.results().splitlines() if line.startswith("| `digits_position`"))
    assert (
        "| 3 | 1,000 | 1,000 | 0.250 ± 0.050 | 0.257 ± 0.012 | 0.990 ± 0.010 | 0.997 ± 0.006 | polar: 0.800 ± 0.100 |"
        in row
    )
    row = next(line for line in tables.verdicts().splitlines() if line.startswith("| `digits_position`"))
    cells = row.split(" | ")
    assert "**no difference** +0.007" in cells[1]
    assert "**helps** +0.733" in cells[2]
    assert "**helps** +0.740" in cells[3]
    assert "**no difference** -0.190" in cells[4]
    row = next(line for line in tables.encodings().splitlines() if line.startswith("| constants"))
    assert "1.000 ± 0.000 (3) |" in row
    assert "| `digits_position` | convert | `0`, `4` | helps | right |" in tables.advised()
    assert "The advice was right on 1 of 1 tasks." in tables.advised()
    assert "`find_and_touch`" in tables.results()
    assert "`sensor`" not in tables.results()


def test_the_page_holds_what_the_records_give():
    page = tables.PAGE.read_text()
    for name, make in tables.TABLES.items():
        assert f"<!-- {name}: {tables.COMMAND} -->\n\n{make()}\n\n<!-- end of {name} -->" in page


def test_the_examples_of_advice_are_those_of_the_record():
    part = f"<!-- foreign: {foreign.COMMAND} -->\n\n{foreign.text()}\n\n<!-- end of foreign -->"
    assert part in foreign.PAGE.read_text()


@pytest.mark.slow
def test_advice_on_a_network_of_timm_and_a_folder_of_images(tmp_path):
    foreign.write_digits(tmp_path / "digits")
    data = ImageFolderDataModule(str(tmp_path / "digits"), image_size=64, num_workers=0)
    found = advise(load_model("timm/resnet18"), data, num_images=200, num_readout_images=8)
    assert found.convert is not True  # training images are random crops, so it is undecided at times
    assert found.translation < 0.01
    assert found.sentences[0].startswith("Class given the centre of the image's contrast")
