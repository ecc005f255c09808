from __future__ import annotations

from genwerk import __version__
from genwerk.core.types import Sampling
from genwerk.inference.receipt import make_receipt, version_differences


def test_a_receipt_names_what_decides_the_tokens() -> None:
    receipt = make_receipt("m", "a", "t", Sampling(seed=5), "native float32 avx512")
    assert (receipt.model, receipt.adapter, receipt.template_sha256, receipt.sampling.seed) == ("m", "a", "t", 5)
    assert receipt.versions == {"genwerk": __version__, "runner": "native float32 avx512"}
    assert version_differences(receipt, "native float32 avx512") == []


def test_other_versions_are_named_one_by_one() -> None:
    receipt = make_receipt("m", None, "t", Sampling(), "native float32 avx512")
    said = "runner: the receipt has native float32 avx512, this process has native int8 avx2"
    assert version_differences(receipt, "native int8 avx2") == [said]
