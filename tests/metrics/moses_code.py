"""MOSES' own code, out of its wheel: three files with stand-ins for the packages they name and these tests lack."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from genwerk.core.assets import fetch

_FILES = {
    "utils": "94f1f4a4083d355de819c5e224688ab5f9307f1e16b92083a37e06f638a586a1",
    "metrics": "143dace725619134950d840037b290efd93c045ae1d363ba59bfd051e7cb1ec9",
    "SA_Score/sascorer": "ac80f7aef88c42fcf8d8419303f0a00369b643ef2666c0fe6f5c2ddb43c1df67",
}


class _Table(list[dict[str, str]]):
    """As much of pandas' table as is used."""

    def append(self, other: Any, sort: bool = False) -> _Table:  # type: ignore[override]
        return _Table([*self, *other])

    def __getitem__(self, name: Any) -> Any:
        return type("Column", (), {"values": [row[name] for row in self]})


def _read_csv(path: str, names: list[str] | None = None) -> _Table:
    known = {"mcf.csv": "moses-mcf", "wehi_pains.csv": "moses-pains"}[Path(path).name]
    with fetch(known).open(encoding="utf-8", newline="") as file:
        return _Table(csv.DictReader(file, names))


def load_moses(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Its modules `moses.metrics.utils` and `moses.metrics.metrics`."""
    from rdkit import Chem
    from rdkit.Contrib.SA_Score import sascorer as of_rdkit

    def molecule(given: Any) -> Any:
        return Chem.MolFromSmiles(given) if isinstance(given, str) else given

    def mapper(jobs: int) -> Callable[..., list[Any]]:
        return lambda function, values: list(map(function, values))

    def put(name: str, **values: Any) -> None:
        module = ModuleType(name)
        module.__path__ = []
        for key, value in values.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)

    nothing = object()
    put("pandas", read_csv=_read_csv, Series=tuple)
    put("fcd_torch", FCD=nothing)
    put("moses")
    put("moses.utils", mapper=mapper, get_mol=molecule, disable_rdkit_log=nothing, enable_rdkit_log=nothing)
    put("moses.dataset", get_dataset=nothing, get_statistics=nothing)
    put("moses.metrics")
    put("rdkit.six", iteritems=lambda counts: iter(counts.items()))
    sascorer = _load("SA_Score/sascorer", monkeypatch)
    of_rdkit.readFragmentScores()
    sascorer._fscores = of_rdkit._fscores  # the same file lies in both packages
    put("moses.metrics.SA_Score", sascorer=sascorer)
    put("moses.metrics.NP_Score", npscorer=nothing)
    monkeypatch.setattr(np, "NaN", np.nan, raising=False)
    return _load("utils", monkeypatch), _load("metrics", monkeypatch)


def _load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = fetch(f"pypi:molsets==0.3.1!moses/metrics/{name}.py", _FILES[name])
    spec = importlib.util.spec_from_file_location(f"moses.metrics.{name.replace('/', '.')}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module
