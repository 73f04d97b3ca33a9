"""Tests that a file is written completely or not at all, and that errors name the file."""

import pytest

from lightning_coordconv.core.files import complete_file, refuse_input, write_text


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(error, before, tmp_path):
    path = tmp_path / "new" / "a.csv"
    if before is not None:
        write_text(path, before)
    try:
        with complete_file(path) as part:
            part.write_text("half")
            raise error
    except error:
        pass
    assert [file.read_text() for file in path.parent.iterdir()] == ([] if before is None else [before])


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/a.csv cannot be written"):
        write_text(tmp_path / "file" / "a.csv", "text")


def test_what_is_read_is_not_written_over(tmp_path):
    kept, link, new = (tmp_path / name for name in ("kept", "link", "new"))
    kept.touch()
    link.symlink_to(kept)
    refuse_input(new, [kept])
    refuse_input(kept, [new])
    for path in (kept, link):
        with pytest.raises(ValueError, match="is read by this command, and would be replaced"):
            refuse_input(path, [new, kept])
