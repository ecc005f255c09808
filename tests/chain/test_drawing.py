"""What is drawn by a generator of sequences and where it goes: what cannot be written is said before it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.errors import RequestError
from genwerk.data.sequences import SPECIAL
from genwerk.generators.family import Space
from genwerk.generators.storage import make_family, save_family, settings_of
from genwerk.recipes import drawing
from genwerk.recipes.drawing import Drawing, generate_samples
from genwerk.training.seeding import seed_step

SETTINGS = {"width": 16, "depth": 1, "heads": 2}


def untrained(folder: Path, layout: str, tokens: tuple[str, ...], classes: tuple[str, ...] = ()) -> Path:
    vocabulary = (*SPECIAL, *tokens)
    seed_step(0)
    family = make_family("autoregressive", SETTINGS, Space((24,), len(vocabulary)))
    save_family(folder, "autoregressive", settings_of("autoregressive", SETTINGS), family, by="nothing",
                classes=classes, layout=layout, vocabulary=vocabulary)  # fmt: skip
    return folder


@pytest.mark.parametrize(("layout", "name"), [
    ("lines", "x.png"), ("molecules", "x.mid"), ("chorales", "x.wav"), ("lines", "none/x.txt"), ("lines", "x"),
])  # fmt: skip
def test_what_cannot_be_written_is_said_before_it_is_drawn(
    layout: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "sample", None)
    with pytest.raises(RequestError, match=r"cannot be written as|there is no folder"):
        generate_samples(untrained(tmp_path, layout, ("C", "N")), Drawing(n=2), tmp_path / name)


def test_structures_that_cannot_be_drawn_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    model = untrained(tmp_path, "molecules", ("C", "(", "="))
    _, said = generate_samples(model, Drawing(n=60, rule=False), tmp_path / "x.png")
    assert (tmp_path / "x.png").exists() and " of 60 of them drawn" in said
    with pytest.raises(RequestError, match="none of 3 samples"):
        generate_samples(untrained(tmp_path, "molecules", ("(", "=")), Drawing(n=3, rule=False), tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()


@pytest.mark.parametrize(("kind", "metre"), [(".mid", b"\xff\x58\x04\x03\x02"), (".musicxml", b"<beats>3</beats>")])
def test_music_is_written_in_the_metre_it_was_learned_in(kind: str, metre: bytes, tmp_path: Path) -> None:
    model = untrained(tmp_path, "chorales", ("60", "64", "67", "48"), classes=("3/4",))
    generate_samples(model, Drawing(n=2), tmp_path / f"x{kind}")
    for number in (1, 2):
        assert metre in (tmp_path / f"x-{number}{kind}").read_bytes()
