"""Tests of trained coordinate networks in Python: predictions, figures, and refused positions and checkpoints."""

import pytest
import torch

from lightning_coordconv.coordinates import (
    CoordConvDecoder,
    CoordConvRegressor,
    CoordConvRenderer,
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
    NotSoClevr,
    NotSoClevrDataModule,
    load,
)
from lightning_coordconv.core.checkpoints import CheckpointError
from tests.classification.test_task import quiet
from tests.slow import slow_except

TASKS = {
    "classification": lambda: CoordinateClassification(CoordConvDecoder(canvas=16)),
    "regression": lambda: CoordinateRegression(CoordConvRegressor()),
    "rendering": lambda: CoordinateRendering(CoordConvRenderer(canvas=16)),
}


def saved(name, folder, **data):
    run = quiet(folder, max_steps=3, limit_val_batches=0)
    run.fit(TASKS[name](), NotSoClevrDataModule(canvas=16, size=3, **data))
    run.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_predictions_are_those_of_the_task_on_the_data_of_the_checkpoint(name, tmp_path):
    model = load(saved(name, tmp_path, partition="quadrant"), device="cpu")
    found = model.predict()
    data = NotSoClevr("all", "quadrant", canvas=16, size=3)
    with torch.no_grad():
        outputs = model.task.evaluate(data.__getitems__(list(range(len(data)))))
    assert torch.equal(found.xy, data.xy)
    assert torch.equal(found.held_out, data.held_out)
    expected = (
        outputs["logits"].flatten(1).softmax(1).view(-1, 16, 16) if name == "classification" else outputs["preds"]
    )
    torch.testing.assert_close(found.predicted if name == "regression" else found.images, expected)
    assert (found.predicted is None) == (name == "rendering")
    assert (found.images is None) == (name == "regression")


@pytest.mark.parametrize("name", TASKS)
def test_each_prediction_is_independent_of_the_others(name, tmp_path):
    model = load(saved(name, tmp_path), device="cpu")
    everywhere = model.predict()
    some = model.predict([(9, 4), (2, 2)])
    for number, xy in enumerate(some.xy.tolist()):
        (same,) = (everywhere.xy == torch.tensor(xy)).all(1).nonzero().flatten()
        for one, all_of_them in ((some.predicted, everywhere.predicted), (some.images, everywhere.images)):
            if one is not None:
                torch.testing.assert_close(one[number], all_of_them[same])


@pytest.mark.slow
@pytest.mark.parametrize("count", slow_except([2], [2, None]))
@pytest.mark.parametrize("name", TASKS)
def test_predictions_are_drawn_and_saved(name, count, tmp_path):
    result = load(saved(name, tmp_path)).predict(None if count is None else [(3, 4), (12, 12)])
    assert result.save(tmp_path / "drawn.png").stat().st_size > 1000
    assert str(result).startswith("correct: ")


@pytest.mark.parametrize(
    "positions",
    [[(1, 2, 3)], [(1.5, 2.0)], (20, 10), [], [("a", "b")], [(None, 2)], torch.zeros(2, 2, dtype=torch.bool)],
)
def test_positions_that_are_no_pairs_of_integers_are_refused(positions):
    with pytest.raises(ValueError, match=r"positions must be pairs \(x, y\) of integers"):
        load("painter").predict(positions)


@pytest.mark.parametrize("position", [(3, 20), (20, 60), (-1, 20), (64, 64)])
def test_a_position_where_the_square_does_not_fit_is_refused(position):
    with pytest.raises(ValueError, match=r"between 4 and 59, got \(" + ", ".join(map(str, position))):
        load("painter").predict([(20, 20), position])


@pytest.mark.parametrize("described", [{"canvas": 2}, {"canvas": "wide"}, {"colour": 1}, []])
def test_a_checkpoint_that_describes_no_positions_is_refused(described, tmp_path):
    path = saved("classification", tmp_path)
    content = torch.load(path, weights_only=True)
    content["inference"]["positions"] = described
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="describes no positions on a canvas"):
        load(path)


@pytest.mark.slow
def test_a_checkpoint_without_a_description_has_the_positions_of_the_paper(tmp_path):
    task = TASKS["regression"]()
    run = quiet(tmp_path)
    run.strategy.connect(task)
    run.save_checkpoint(tmp_path / "bare.ckpt")
    assert len(load(tmp_path / "bare.ckpt").predict()) == 3136
