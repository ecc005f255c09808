"""The kernels are built whole or not at all, and who cannot have them is told so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_models import make_native, random_tokens, small_model, step

from genwerk.core.errors import ModelError
from genwerk.inference.model_runner import make_runner
from genwerk.inference.native import library
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import NativeUnavailableError, load_library, usable_variants
from genwerk.inference.runner import Chunk, Runner
from genwerk.inference.torch_runner import TorchRunner

QUICK = ("-std=c++20", "-O0", "-fPIC", "-shared", "-Wno-psabi", "-pthread")
BUILD = """
import sys
from pathlib import Path
from genwerk.inference.native import library
library._KERNELS = Path(sys.argv[1])
library._declare = lambda built: built
print(library.load_library("portable").answer())
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache and nothing loaded yet, compiled without optimisation; yields the folder libraries go to."""
    kept = load_library("portable")
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_FLAGS", QUICK)
    forget()
    yield tmp_path / "cache" / "native"
    monkeypatch.undo()
    forget()
    assert load_library("portable")._name == kept._name


def forget() -> None:
    load_library.cache_clear()
    library._version.cache_clear()


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")


def choose(engine: str, **settings: str) -> Runner:
    return make_runner(
        small_model("llama"), engine=engine, positions=64, adapters=(), **{"precision": "float32"} | settings
    )


def test_a_missing_compiler_says_what_to_install(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NativeUnavailableError, match=r"`no-such-compiler`.*Install one"):
        load_library("portable")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(fresh))
    with pytest.raises(NativeUnavailableError, match=r"no C\+\+ compiler.*Install one"):
        load_library("portable")


def test_a_compiler_that_cannot_start_is_named(fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(script(tmp_path / "cxx", "echo out of licences >&2; exit 3")))
    with pytest.raises(NativeUnavailableError, match=r"cxx.*out of licences.*Let CXX name"):
        load_library("portable")


def test_a_build_that_fails_says_why_and_leaves_nothing(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = """
        for last; do :; done
        case " $* " in
            *" --version "*) echo broken 1.0; exit;;
        esac
        echo half a file > "$last"
        echo "error: too old" >&2
        exit 1
    """
    monkeypatch.setenv("CXX", str(script(tmp_path / "cxx", body)))
    with pytest.raises(NativeUnavailableError, match="error: too old"):
        load_library("portable")
    assert list(fresh.iterdir()) == []


def test_a_library_without_optimisation_gives_the_same_answers_and_is_built_once(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = usable_variants()[0]
    first = load_library(best)
    assert [file.suffix for file in fresh.iterdir()] == [".so"]
    load_library.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(library, "build", lambda *_, **__: pytest.fail("built again"))
        assert load_library(best)._name == first._name
    tokens = random_tokens(40, 97)
    with torch.inference_mode():
        expected = small_model("llama")(torch.tensor([tokens]))[0, -1]
    for variant in usable_variants():
        runner = make_native(small_model("llama"), blocks=2, threads=2, variant=variant)
        torch.testing.assert_close(step(runner, [Chunk(tokens, 0, [1, 0])])[0], expected, atol=1e-4, rtol=0)


def test_another_compiler_or_other_sources_never_share_a_library(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built: list[Path] = []

    def pretend(place: Path, **_: object) -> None:
        built.append(place)
        raise NativeUnavailableError("not built here")

    def place() -> None:
        forget()
        with pytest.raises(NativeUnavailableError, match="not built here"):
            load_library("portable")

    monkeypatch.setattr(library, "build", pretend)
    compiler = script(tmp_path / "cxx", "echo first 1.0")
    monkeypatch.setenv("CXX", str(compiler))
    place()
    place()
    script(compiler, "echo first 2.0")
    place()
    sources = tmp_path / "kernels"
    sources.mkdir()
    for file in library._KERNELS.iterdir():
        (sources / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(library, "_KERNELS", sources)
    place()
    (sources / "pool.h").write_text((sources / "pool.h").read_text() + "\n")
    place()
    assert [one == built[0] for one in built] == [True, True, False, False, False]
    assert built[2] == built[3] != built[4]


def test_two_processes_that_build_at_once_end_with_one_working_library(fresh: Path, tmp_path: Path) -> None:
    sources = tmp_path / "kernels"
    sources.mkdir()
    (sources / "library.cpp").write_text(
        '#include <regex>\nstatic std::regex slow_to_compile;\nextern "C" int answer() { return 42; }'
    )
    running = [
        subprocess.Popen([sys.executable, "-c", BUILD, str(sources)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [one.communicate()[0] for one in running] == ["42\n", "42\n"]
    assert [one.returncode for one in running] == [0, 0]
    assert [file.suffix for file in fresh.iterdir()] == [".so"]


def test_auto_falls_back_to_pytorch_and_says_so(no_compiler: None, capsys: pytest.CaptureFixture[str]) -> None:
    runner = choose("auto")
    assert isinstance(runner, TorchRunner)
    said = capsys.readouterr().err
    assert "PyTorch runs this model" in said
    assert "no-such-compiler" in said
    assert step(runner, [Chunk([1, 2], 0, [0])]).isfinite().all()


def test_a_precision_that_the_fallback_lacks_is_said_too(no_compiler: None, capsys: pytest.CaptureFixture[str]) -> None:
    runner = choose("auto", precision="int8")
    assert isinstance(runner, TorchRunner)
    assert runner.precision == "float32"
    assert "not in int8" in capsys.readouterr().err


def test_native_is_an_error_where_it_cannot_be(no_compiler: None) -> None:
    with pytest.raises(NativeUnavailableError, match="no-such-compiler"):
        choose("native")


def test_pytorch_needs_no_compiler(no_compiler: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(choose("torch"), TorchRunner)
    assert capsys.readouterr().err == ""


def test_auto_is_native_where_it_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    runner = choose("auto", precision="int8")
    assert isinstance(runner, NativeDecoder)
    assert runner.blocks == 2
    assert "int8" in runner.title
    assert capsys.readouterr().err == ""


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"steam.*auto, native, torch"):
        choose("steam")


def test_best_variant_comes_first_and_portable_last() -> None:
    found = usable_variants()
    assert found == [name for name in ("amx", "avx512", "avx2", "portable") if name in found]
    assert found[-1] == "portable"
