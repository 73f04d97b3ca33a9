"""Tests that members of enumerations come back from a checkpoint as what they were, or as the equal value."""

import enum
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
import torch

from lightning_coordconv.classification import ImageClassification, PooledClassifier
from lightning_coordconv.core import remember_arguments
from lightning_coordconv.core.hyperparameters import build_arguments, plain_arguments
from tests.core.test_restore import saved


class Pool(str, enum.Enum):  # noqa: UP042  # the usual form, whose str() is "Pool.MAX"
    MAX = "max"
    AVG = "MAX"  # the name of another


class Size(enum.IntEnum):
    NONE = 0
    SMALL = 2


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


def function(annotation):
    def built(option):
        pass

    built.__annotations__["option"] = annotation
    return built


MEMBERS = (Pool.MAX, Pool.AVG, Size.NONE, Size.SMALL, Rights.READ, Rights(0), Rights.READ | Rights.WRITE)
ANNOTATIONS = (
    str, int, Pool, Size, Rights, Pool | str, str | Pool, Size | int, int | Size, Size | Pool | None, Size | str,
    Literal["max", "avg"], Literal[0, 2], None,
)  # fmt: skip


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_an_argument_is_what_it_was(member, annotation):
    wanted = function(annotation)
    if annotation is None:
        wanted.__annotations__.clear()
    given = {"option": member}
    plain = plain_arguments(wanted, given)
    assert type(plain["option"]) in (str, int)
    assert build_arguments(wanted, plain) == given


@pytest.mark.parametrize("inner", [Pool, str, Pool | str])
@pytest.mark.parametrize("member", list(Pool), ids=repr)
def test_an_argument_within_others_is_what_it_was(member, inner):
    for annotation, option in (
        (list[inner], [member]),
        (Sequence[inner] | None, (member, member)),
        (Mapping[str, inner], {"a": member}),
        (dict[str, list[inner]], {"a": [member, member]}),
        (list, [member]),
    ):
        wanted = function(annotation)
        assert build_arguments(wanted, plain_arguments(wanted, {"option": option})) == {"option": option}


@remember_arguments
class Pooled(PooledClassifier):
    def __init__(self, text: str, either: Pool | str, member: Pool, anything=None):
        super().__init__(2, True, channels=3)
        self.options = [text, either, member, anything]


class Reading(ImageClassification):
    def __init__(self, net: torch.nn.Module, text: str, member: Size = Size.NONE):
        super().__init__(net)
        self.options = [text, member]


@pytest.mark.parametrize("trust", [False, True])
def test_tasks_and_networks_are_built_with_what_they_were_built_with(trust, tmp_path):
    task = Reading(Pooled(Pool.MAX, Pool.MAX, Pool.AVG, anything=Size.SMALL), Pool.AVG, Size.SMALL)
    path = tmp_path / "last.ckpt"
    torch.save(saved(task) | {"pytorch-lightning_version": "2.6.0"}, path)
    again = Reading.load_from_checkpoint(path, trust=trust)
    assert again.options == task.options == ["MAX", Size.SMALL]
    assert again.net.options == task.net.options == ["max", Pool.MAX, Pool.AVG, 2]
    assert type(again.net.options[2]) is Pool
    assert type(again.options[1]) is Size


def test_what_the_command_line_writes_is_the_member():
    """jsonargparse writes names, and reads a name as a member where no text is allowed before it."""
    for annotation, expected in ((Pool, Pool.MAX), (Pool | str, Pool.MAX), (str | Pool, "MAX"), (str, "MAX")):
        (found,) = build_arguments(function(annotation), {"option": "MAX"}).values()
        assert found == expected
        assert type(found) is type(expected)
