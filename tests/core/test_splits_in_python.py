"""Tests of splits where one data module serves several trainings and tests in the same process."""

from tests.core.test_splits_of_runs import Found, RecordingTask, trainer, write


class Either(Found):
    """Divides them unless they come divided."""

    def divide(self) -> None:
        if (self.root / "divided").exists():
            self.names = {part: [f"{part}.png"] for part in ("train", "val", "test")}
        else:
            super().divide()


def test_training_on_data_without_a_split_keeps_the_earlier_one(tmp_path):
    write(tmp_path / "data", range(20))
    task = RecordingTask()
    (tmp_path / "more" / "divided").mkdir(parents=True)
    trainer(tmp_path, 1).fit(task, Either(tmp_path / "data", 0))
    trained = task.seen["train"] | task.seen["val"]
    trainer(tmp_path, 1).fit(task, Either(tmp_path / "more", 0))
    trainer(tmp_path, 1).test(task, Either(tmp_path / "data", 7), verbose=False)
    assert task.seen["test"] == {str(number) for number in range(20)} - trained


def test_training_has_the_split_of_its_own_seed_after_a_test_of_another_task(tmp_path):
    write(tmp_path / "data", range(20))
    first, second, alone = RecordingTask(), RecordingTask(), RecordingTask()
    trainer(tmp_path, 1).fit(first, Found(tmp_path / "data", 0))
    data = Found(tmp_path / "data", 1)
    trainer(tmp_path, 1).test(first, data, verbose=False)
    trainer(tmp_path, 1).fit(second, data)
    trainer(tmp_path, 1).fit(alone, Found(tmp_path / "data", 1))
    assert second.seen == alone.seen
