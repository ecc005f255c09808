"""Steps and artifacts: what would break is one rerun for nothing, or found though something changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chain_steps import ChainConfig, make_chain, make_part

from genwerk.core.config import Config
from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.hashing import digest, tree_hashes
from genwerk.core.workspace import Artifact, Source, Step, Workspace


class OneConfig(Config):
    value: int = 1


def write_value(config: OneConfig, step: Step, *inputs: Artifact | Source) -> dict[str, float | int | str]:
    (step.out / "sub").mkdir()
    (step.out / "sub" / "value.txt").write_text(str(config.value))
    return {"value": config.value, "loss": 0.5, "perplexity": float("inf"), "rule": "none"}


def write_other(config: OneConfig, step: Step, *inputs: Artifact | Source) -> None:
    (step.out / "value.txt").write_text(str(config.value))


def return_list(config: OneConfig, step: Step) -> dict[str, list[int]]:
    return {"losses": [1, 2]}


def leave_link(config: OneConfig, step: Step) -> None:
    (step.out / "link").symlink_to("/etc/hostname")


def write_record(config: OneConfig, step: Step) -> None:
    (step.out / "artifact.json").write_text("{}")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def test_an_artifact_says_what_it_is(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("in")
    source = Source.of_file("input", tmp_path / "in.txt")
    base = workspace.step(write_other, OneConfig())
    made = workspace.step(write_value, OneConfig(value=7), base, source, kind="dataset")
    assert made.path == workspace.root / "artifacts" / "dataset" / made.id and len(made.id) == 16
    assert (made.path / "sub" / "value.txt").read_text() == "7"
    assert made.parents == (base.id,) and made.sources == {"input": source.sha256}
    assert made.config == {"value": 7} and made.sizes == {"sub/value.txt": 1}
    assert made.metrics == {"value": 7, "loss": 0.5, "perplexity": "inf", "rule": "none"}
    assert made.function == f"{__name__}:write_value" and made.created.endswith("+00:00")
    files = {name: sha for name, sha in tree_hashes(made.path).items() if name != "artifact.json"}
    assert made.files == files and made.content_sha256 == digest(files)
    assert workspace.find(made.id) == made and workspace.verify(made) == []
    record = (made.path / "artifact.json").read_text()
    assert str(tmp_path) not in record and json.loads(record)["content_sha256"] == made.content_sha256


def test_the_same_step_is_found_not_rerun(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made = workspace.step(write_value, OneConfig())
    assert Workspace(workspace.root).step(write_value, OneConfig()) == made
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "made in" in lines[0] and lines[1] == f"✓ write_value {made.id[:8]}… found"


def test_whatever_it_is_made_from_changes_its_id(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(name)
    a, b = (Source.of_folder(name, tmp_path / name) for name in ("a", "b"))
    base = workspace.step(write_other, OneConfig())
    ids = {
        workspace.step(function, config, *inputs, kind="one").id
        for function in (write_value, write_other)
        for config in (OneConfig(), OneConfig(value=2))
        for inputs in ((), (base,), (a,), (b,), (a, b), (b, a))
    }
    assert len(ids) == 24
    (tmp_path / "a" / "file.txt").write_text("edited")
    assert workspace.step(write_value, OneConfig(), Source.of_folder("a", tmp_path / "a"), kind="one").id not in ids


def test_two_sources_of_one_name_are_both_recorded(workspace: Workspace, tmp_path: Path) -> None:
    made = workspace.step(write_value, OneConfig(), Source("x", tmp_path, "1" * 64), Source("x", tmp_path, "2" * 64))
    assert made.sources == {"x": "1" * 64, "x (2)": "2" * 64}


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    for make in (Source.of_file, Source.of_folder):
        with pytest.raises(DataError, match="missing"):
            make("x", tmp_path / "missing")


def test_a_written_name_is_the_same_step_and_is_imported_only_to_run(workspace: Workspace) -> None:
    made = workspace.step("chain_steps:make_part", ChainConfig(), kind="part")
    assert workspace.step(make_part, ChainConfig(), kind="part") == made
    code = (
        "import sys; from pathlib import Path; from genwerk.core.workspace import Workspace\n"
        "from genwerk.core.config import Config\n"
        "class ChainConfig(Config):\n    name: str = 'a'\n    parts: int = 4\n    bytes: int = 20_000\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "print(Workspace(Path(sys.argv[1])).step('chain_steps:make_part', ChainConfig(), kind='part').id)\n"
        "assert 'chain_steps' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(workspace.root), str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == made.id


def test_a_missing_function_is_named(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="make_nothing"):
        workspace.step("chain_steps:make_nothing", ChainConfig())
    with pytest.raises(WorkspaceError, match="no_such_module"):
        workspace.step("no_such_module:make", ChainConfig())


@pytest.mark.parametrize(
    ("function", "word"), [(return_list, "losses"), (leave_link, "link"), (write_record, "reserved")]
)
def test_what_cannot_be_an_artifact_is_refused_and_leaves_nothing(
    workspace: Workspace, function: object, word: str
) -> None:
    with pytest.raises(WorkspaceError, match=word) as caught:
        workspace.step(function, OneConfig())  # type: ignore[arg-type]
    assert caught.value.remedy
    assert workspace.artifacts() == [] and list((workspace.root / "staging").iterdir()) == []


@pytest.mark.parametrize("kind", ["../x", "", ".hidden", "a b", "a/b"])
def test_a_kind_is_one_plain_word(workspace: Workspace, kind: str) -> None:
    if kind:
        with pytest.raises(WorkspaceError):
            workspace.step(write_value, OneConfig(), kind=kind)
    with pytest.raises(WorkspaceError):
        workspace.pinned(kind)


def test_each_step_leaves_an_event_with_time_and_memory(workspace: Workspace) -> None:
    made = workspace.step(write_value, OneConfig())
    workspace.step(write_value, OneConfig())
    events = workspace.events.read()
    assert [event.kind for event in events] == ["step.made", "step.found"]
    for event in events:
        assert event.fields["id"] == made.id and event.fields["seconds"] >= 0
        assert event.fields["peak_rss_bytes"] > 1 << 20
    assert events[0].fields["content"] == made.content_sha256


def test_artifacts_are_found_by_the_first_letters(workspace: Workspace) -> None:
    made = [workspace.step(write_value, OneConfig(value=number), kind="dataset") for number in range(40)]
    assert workspace.find(made[3].id) == workspace.find(f"dataset/{made[3].id}") == made[3]
    first = {item.id[0] for item in made}
    crowded = next(letter for letter in first if sum(item.id.startswith(letter) for item in made) > 1)
    with pytest.raises(WorkspaceError, match="may be any of"):
        workspace.find(crowded)
    for missing in ("zz", "", f"model/{made[3].id}"):
        with pytest.raises(WorkspaceError, match="no artifact"):
            workspace.find(missing)
    assert workspace.artifacts() == made


def test_lineage_puts_parents_first(workspace: Workspace) -> None:
    chain = make_chain(workspace.root, steps=5)
    order = workspace.lineage(chain[-1])
    assert set(order_ids := [item.id for item in order]) == {item.id for item in chain} and order[-1] == chain[-1]
    for item in order:
        assert all(order_ids.index(parent) < order_ids.index(item.id) for parent in item.parents)
    assert workspace.parents(chain[2]) == chain[:2]


def test_a_moved_workspace_works(workspace: Workspace) -> None:
    chain = make_chain(workspace.root, steps=3)
    moved = workspace.root.rename(workspace.root.with_name("elsewhere"))
    again = make_chain(moved, steps=3)
    assert [item.id for item in again] == [item.id for item in chain]
    assert Workspace(moved).events.read("step.found")


def test_pins_point_to_what_exists_and_switch_as_one(workspace: Workspace) -> None:
    a, b = (workspace.step(write_value, OneConfig(value=number)) for number in (1, 2))
    assert workspace.pinned("serving") == {}
    workspace.pin("report", a.id[:12])
    workspace.pin("serving", {"model": a.id, "index": b.id, "name": "handbook"})
    assert workspace.pinned("report") == {"artifact": a.id}
    with pytest.raises(WorkspaceError, match="no artifact"):
        workspace.pin("serving", {"model": "0" * 16})
    assert workspace.pinned("serving") == {"model": a.id, "index": b.id, "name": "handbook"}
    assert set(workspace.pins()) == {"report", "serving"}
    (workspace.root / "pins" / "report.json").write_text("{")
    with pytest.raises(WorkspaceError, match="spoilt"):
        workspace.pinned("report")


def test_garbage_is_what_no_pin_and_no_one_needs(workspace: Workspace) -> None:
    chain = make_chain(workspace.root, steps=4)
    lone = [workspace.step(write_value, OneConfig(value=number)) for number in range(3)]
    workspace.pin("serving", {"model": chain[2].id, "name": "x"})
    wanted = {chain[3].id, lone[1].id, lone[2].id}
    assert {item.id for item in workspace.collect_garbage([lone[0].id], dry_run=True)} == wanted
    assert len(workspace.artifacts()) == 7
    assert {item.id for item in workspace.collect_garbage([lone[0].id])} == wanted
    assert {item.id for item in workspace.artifacts()} == {*(item.id for item in chain[:3]), lone[0].id}
    assert workspace.collect_garbage([lone[0].id]) == []
    with pytest.raises(WorkspaceError, match="no artifact"):
        workspace.collect_garbage(["0" * 16])


def test_an_empty_workspace_can_be_read(workspace: Workspace) -> None:
    assert workspace.artifacts() == [] and workspace.pins() == {} and workspace.events.read() == []
    assert not workspace.root.exists()


def test_a_file_in_the_workspace_s_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError) as caught:
        Workspace(tmp_path / "file").step(write_value, OneConfig())
    assert str(tmp_path / "file") in caught.value.where and caught.value.remedy
