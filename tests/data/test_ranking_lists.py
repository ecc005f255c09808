"""Ranking lists on disk: what is written is read, joined lists keep their passages, and damage is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.errors import DataError
from genwerk.data.ranking_lists import RankingList, RankingLists, join_lists, load_lists, write_lists

ONE = RankingLists(
    ("yes", "no", "perhaps"),
    (RankingList("a?", 0, (1, 2), "train", "d", (2.0, -1.0, 0.5)), RankingList("b?", 1, (0,), "dev", "e")),
    ({"id": "d", "sha256": "1"}, {"id": "e", "sha256": "2"}),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_lists(tmp_path, ONE)
    assert load_lists(tmp_path) == ONE
    assert [one.query for one in ONE.of("dev")] == ["b?"]


def test_joined_lists_point_to_their_own_passages() -> None:
    other = RankingLists(("maybe", "never"), (RankingList("c?", 1, (0,), "train", "f"),), ({"id": "d", "sha256": "1"},))
    joined = join_lists([ONE, other])
    assert [joined.passages[one.positive] for one in joined.lists] == ["yes", "no", "never"]
    assert [[joined.passages[n] for n in one.negatives] for one in joined.lists] == [
        ["no", "perhaps"],
        ["yes"],
        ["maybe"],
    ]
    assert joined.lists[0].scores == ONE.lists[0].scores
    assert joined.named({"d"}) == [{"id": "d", "sha256": "1"}]


def test_damage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Mine them anew"):
        load_lists(tmp_path)
    for wrong in (RankingList("a?", 7, (), "train", "d"), RankingList("a?", 0, (1,), "train", "d", (1.0,))):
        write_lists(tmp_path, RankingLists(("x", "y"), (wrong,)))
        with pytest.raises(DataError, match="cannot be read"):
            load_lists(tmp_path)
