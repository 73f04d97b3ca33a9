"""Tests of the figures of detections, and of predictions that are written in COCO's results format."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_coordconv.detection import (
    CocoDetectionDataModule,
    CocoResults,
    DetectionFigures,
    FieldOfMnistDataModule,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
)
from lightning_coordconv.detection.boxes import PREDICTED, TRUE, draw_boxes
from lightning_coordconv.detection.figures import samples_of
from tests.classification.test_task import quiet
from tests.detection.test_task import Answers

FOUND = {
    "boxes": torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 5.0, 5.0]]),
    "labels": torch.tensor([3, 1]),
    "scores": torch.tensor([0.9, 0.2]),
}


def picture(predicted: dict[str, torch.Tensor] | None = None, **changes: object) -> Figure:
    sample = {
        "image": torch.rand(3, 40, 80),
        "boxes": torch.tensor([[1.0, 2.0, 11.0, 22.0]]),
        "labels": torch.tensor([1]),
        **changes,
    }
    return draw_boxes(sample | ({} if predicted is None else {"predicted": predicted}), {1: (4, "cat"), 3: (9, "cup")})


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_truth_and_predictions_differ_in_colour_line_and_legend():
    figure = picture(FOUND)
    (axes,) = figure.axes
    true, found = axes.patches
    assert (true.get_x(), true.get_y(), true.get_width(), true.get_height()) == (1, 2, 10, 20)
    assert (found.get_x(), found.get_y(), found.get_width(), found.get_height()) == (10, 20, 20, 40)
    assert true.get_linestyle() != found.get_linestyle()
    assert [text.get_text() for text in axes.texts] == ["cat", "cup 0.90"]
    assert [text.get_color() for text in axes.texts] == [TRUE, PREDICTED]
    assert legend(figure) == ["true: 1", "predicted: 1 with a score from 0.5, 1 below"]
    assert axes.get_title() == ""


def test_broken_red_lines_are_seen_on_red_objects():
    red = torch.tensor(to_rgb(PREDICTED))[:, None, None].expand(3, 40, 80)
    found = {key: values[:1] for key, values in FOUND.items()}
    found["masks"] = torch.zeros(1, 40, 80, dtype=torch.bool)
    found["masks"][0, 5:15, 50:70] = True
    found["keypoints"] = torch.tensor([[[45.0, 30.0, 1.0], [75.0, 30.0, 1.0]]])
    sample = {"image": red, "predicted": found}
    canvas = FigureCanvasAgg(draw_boxes(sample, {}, bones=[(0, 1)]))
    canvas.draw()
    pixels = torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].astype(float) / 255)
    height, width = 40 * 500 // 80, 500  # of the image in the picture

    def dark(x, y):
        """Return the share of columns, of one pixel of the image each, that have something dark at (x, y)."""
        row, left, right = (round(value * width / 80) for value in (y, x, x + 10))
        return (pixels[row - 4 : row + 5, left:right].amax(2).amin(0) < 0.2).double().mean()

    assert height == pixels.shape[0] - 40
    assert dark(15, 20) == 1  # the upper side of the box
    assert dark(55, 5) == 1  # the outline of the mask
    assert dark(55, 30) == 1  # the line between keypoints
    assert dark(35, 10) == 0


@pytest.mark.parametrize("hidden", [0, 2])
def test_a_picture_without_predictions_says_so(hidden):
    figure = picture({key: values[:hidden] * (0.5 if key == "scores" else 1) for key, values in FOUND.items()})
    (axes,) = figure.axes
    assert axes.get_title() == ("all scores below 0.5" if hidden else "nothing predicted")
    FigureCanvasAgg(figure).draw()
    banner, height = axes.title.get_window_extent(), axes.bbox.height
    assert axes.bbox.y0 + 0.8 * height < banner.y0 < banner.y1 <= axes.bbox.y1  # at the top, where least is hidden
    assert legend(figure) == ["true: 1", f"predicted: 0 with a score from 0.5, {hidden} below"]
    assert legend(picture()) == ["true: 1"]
    assert picture().axes[0].get_title() == ""


@pytest.mark.parametrize("shape", [(3, 40, 80), (3, 400, 20), (1, 8, 8)])
def test_captions_and_the_legend_are_inside_the_picture(shape):
    height, width = shape[1:]
    box = torch.tensor([[-5.0, -5.0, width + 5.0, height + 5.0]])
    found = {"boxes": box, "labels": torch.tensor([3]), "scores": torch.tensor([0.9])}
    figure = picture(found, image=torch.rand(shape), boxes=box)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    for text in axes.texts:
        assert axes.bbox.contains(*text.get_window_extent().p0 + 1.5)
    frame, drawn = figure.bbox, figure.legends[0].get_window_extent()
    assert frame.x0 <= drawn.x0
    assert drawn.x1 <= frame.x1
    assert drawn.y1 <= axes.bbox.y0 + 1


def test_names_are_no_formulas(tmp_path):
    figure = draw_boxes({"image": torch.rand(3, 8, 8), "boxes": torch.rand(1, 4), "labels": torch.tensor([1])},
                        {1: (1, "$x_{")})  # fmt: skip
    figure.savefig(tmp_path / "picture.png")  # Matplotlib refuses "$x_{" as a formula
    assert (tmp_path / "picture.png").stat().st_size > 0


@pytest.mark.slow
def test_each_validation_draws_the_same_images_and_keeps_its_files(tmp_path, monkeypatch):
    net = RegionProposal(RegionProposalNet())
    data = FieldOfMnistDataModule(num_images=16, num_eval_images=6, batch_size=8, eval_batch_size=2)
    drawn = []

    def draw(sample, *arguments, **options):
        drawn.append(int(sample["image_id"]))
        return draw_boxes(sample, *arguments, **options)

    monkeypatch.setattr("lightning_coordconv.detection.figures.draw_boxes", draw)
    trainer = quiet(
        tmp_path, max_epochs=2, val_check_interval=1, callbacks=[DetectionFigures(num_images=3)], num_sanity_val_steps=1
    )
    trainer.loggers = [TensorBoardLogger(tmp_path, name="run")]
    trainer.fit(net, data)
    trainer.test(net, data, verbose=False)
    assert drawn == [0, 1, 2] * 5
    folder = tmp_path / "run" / "version_0"
    names = {path.name for path in (folder / "figures").iterdir()}
    kinds = (*(f"val_{{}}_{step:06d}" for step in (1, 2, 3, 4)), "test_{}")
    assert names == {f"detections_{kind.format(number)}.png" for kind in kinds for number in range(3)}
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("val/detections_val_0")] == [1, 2, 3, 4]


def test_results_are_coco_s(tmp_path, photographs, caplog):
    found = [FOUND, {key: value[:0] for key, value in FOUND.items()}, {key: value[:1] for key, value in FOUND.items()}]
    data = CocoDetectionDataModule(str(photographs), "boxes.json", "boxes.json", eval_batch_size=2, num_workers=0)
    numbers = iter(range(3))
    net = ObjectDetection(Answers(found))
    net.net.forward = lambda images: [found[next(numbers)] for _ in images]
    trainer = quiet(tmp_path, callbacks=[CocoResults(num_overlays=2)])
    with caplog.at_level("INFO"):
        trainer.predict(net, data, return_predictions=False)
    where = f"Wrote 3 detections to {tmp_path / 'detections.json'}, and 2 pictures to {tmp_path / 'overlays'}"
    assert where in caplog.messages
    rows = json.loads((tmp_path / "detections.json").read_text())
    assert [(row["image_id"], row["category_id"], row["bbox"]) for row in rows] == [
        (10, 18, [10, 20, 20, 40]), (10, 3, [0, 0, 5, 5]), (30, 18, [10, 20, 20, 40])
    ]  # fmt: skip
    assert [row["score"] for row in rows] == pytest.approx([0.9, 0.2, 0.9])
    assert [row["file_name"] for row in rows] == ["china.jpg", "china.jpg", "hopper.jpg"]
    overlays = sorted((tmp_path / "overlays").iterdir())
    assert [path.name for path in overlays] == ["10_china.png", "20_flower.png"]
    with Image.open(overlays[0]) as picture:
        assert picture.size == (500, 374)


def test_a_batch_is_taken_apart():
    batch = {"image": torch.zeros(2, 1, 4, 4), "image_id": torch.tensor([7, 8]), "path": ["a", "b"]}
    first, second = samples_of(batch, [FOUND, FOUND])
    assert first["image"].shape == (1, 4, 4)
    assert (int(second["image_id"]), second["path"]) == (8, "b")
    assert second["predicted"].keys() == FOUND.keys()


def test_wrong_number_is_named():
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        DetectionFigures(0)


def test_nothing_is_drawn_without_logs(tmp_path):
    figures = DetectionFigures()
    trainer = SimpleNamespace(log_dir=None, is_global_zero=True, sanity_checking=False, loggers=[])
    figures.on_validation_end(trainer, None)
    assert list(tmp_path.iterdir()) == []
