from __future__ import annotations

from dataclasses import replace

import torch

from genwerk import __version__
from genwerk.core.types import Sampling
from genwerk.inference.receipt import make_receipt, version_differences


def test_a_receipt_names_what_decides_the_tokens() -> None:
    receipt = make_receipt("m", "a", "t", Sampling(seed=5))
    assert (receipt.model, receipt.adapter, receipt.template_sha256, receipt.sampling.seed) == ("m", "a", "t", 5)
    assert receipt.versions["genwerk"] == __version__
    assert receipt.versions["torch"] == torch.__version__
    assert version_differences(receipt) == []


def test_other_versions_are_named_one_by_one() -> None:
    receipt = make_receipt("m", None, "t", Sampling())
    old = replace(receipt, versions={**receipt.versions, "torch": "1.0"})
    assert version_differences(old) == [f"torch: the receipt has 1.0, this process has {torch.__version__}"]
