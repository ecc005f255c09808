"""Contract: every field of a request is mapped to vLLM or refused by name. vLLM itself is not needed here."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.machine import Gpu
from genwerk.core.types import Constraint, Receipt, Sampling
from genwerk.inference import engines
from genwerk.inference.engines import choose_engine, load_engine
from genwerk.inference.receipt import loading_of
from genwerk.inference.vllm_engine import engine_arguments
from genwerk.inference.vllm_sampling import check_mapped, form_arguments, sampling_arguments
from genwerk.models.decoder import DecoderConfig

CHANGED: dict[str, Any] = {
    "temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.3,
    "frequency_penalty": -0.4, "max_tokens": 7, "stop": ("x",), "seed": 3, "logprobs": 2, "typical_p": 0.9,
    "logit_bias": ((4, 1.5),), "min_tokens": 2, "stop_tokens": (9,), "bad_words": ("no",), "prompt_logprobs": 1,
    "beams": 2, "length_penalty": 2.0, "thinking_budget": 10,
}  # fmt: skip
REFUSED = {"typical_p", "bad_words", "beams", "thinking_budget"}
ELSEWHERE = {"stop", "length_penalty"}  # our reader stops; a length is only punished in beam search


def arguments(sampling: Sampling, constraint: Constraint | None = None) -> dict[str, Any]:
    return sampling_arguments(sampling, limit=sampling.max_tokens, ends={2}, constraint=constraint)


def test_every_field_is_mapped_or_refused() -> None:
    assert set(CHANGED) == {field.name for field in fields(Sampling)}
    plain = arguments(Sampling())
    for name, value in CHANGED.items():
        sampling = Sampling(**{name: value})
        if name in REFUSED:
            with pytest.raises(RequestError) as raised:
                check_mapped(sampling)
            assert raised.value.param == name and "vLLM" in raised.value.what
            continue
        check_mapped(sampling)
        assert (arguments(sampling) == plain) == (name in ELSEWHERE), name


def test_values_arrive_as_they_were_asked() -> None:
    made = arguments(Sampling(**{name: CHANGED[name] for name in set(CHANGED) - REFUSED}))
    assert made == {
        "temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.3,
        "frequency_penalty": -0.4, "logprobs": 2, "prompt_logprobs": 1, "max_tokens": 7, "min_tokens": 2, "seed": 3,
        "stop_token_ids": [2, 9], "ignore_eos": True, "detokenize": False, "logit_bias": {4: 1.5},
    }  # fmt: skip


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63, 2**64 - 1])
def test_a_seed_is_never_one_that_means_none_or_does_not_fit(seed: int) -> None:
    assert 0 <= arguments(Sampling(seed=seed))["seed"] < 2**63


def test_a_temperature_that_would_be_changed_is_refused() -> None:
    for temperature in (0.0, 0.01, 2.0):
        check_mapped(Sampling(temperature=temperature))
    with pytest.raises(RequestError, match=r"temperature.*0\.01"):
        check_mapped(Sampling(temperature=0.001))


def test_forms_have_their_own_keys() -> None:
    assert form_arguments(Constraint("json")) == {"json_object": True}
    assert form_arguments(Constraint("json_schema", "{}")) == {"json": "{}"}
    assert form_arguments(Constraint("choice", '["a"]')) == {"choice": ["a"]}
    assert arguments(Sampling(), Constraint("regex", "a+"))["structured_outputs"] == {"regex": "a+"}
    with pytest.raises(RequestError, match="thinking"):
        check_mapped(Sampling(), Constraint("json"), thinks=True)


def test_room_and_precision_follow_from_the_machine() -> None:
    config = DecoderConfig(258, 64, 2, 2, 1, 32, 96, 512)

    def made(**options: Any) -> dict[str, Any]:
        return engine_arguments(config, Path("m"), **{"precision": "int8", "context": 512, "rank": 0, "cuda": True,
                                                      "positions": None, **options})  # fmt: skip

    assert made()["dtype"] == "auto" and "kv_cache_memory_bytes" not in made() and "enforce_eager" not in made()
    on_processor = made(cuda=False)
    assert on_processor["dtype"] == "float32" and on_processor["kv_cache_memory_bytes"] == 2 * 4 * 2 * 32 * 1024
    assert made(precision="float32")["dtype"] == "float32"
    assert made(rank=12)["max_lora_rank"] == 16 and "enable_lora" not in made()


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("cuda", [True, False])
def test_auto_takes_vllm_where_there_are_cuda_and_vllm_and_says_so(
    installed: bool, cuda: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "probe", lambda: SimpleNamespace(cuda=cuda, gpus=(Gpu("A GPU", 1),)))
    monkeypatch.setattr(engines, "find_spec", lambda name: SimpleNamespace() if installed else None)
    assert choose_engine(tmp_path) == ("vllm" if cuda and installed else "auto")
    said = capsys.readouterr().err
    assert ("vLLM" in said) == cuda and ("A GPU" in said) == (cuda and installed)
    assert ("genwerk[gpu]" in said) == (cuda and not installed)
    assert choose_engine(tmp_path, "native") == "native"
    assert choose_engine(tmp_path, draft=tmp_path) == choose_engine(tmp_path, sinks=4) == "auto"


def test_what_vllm_cannot_do_is_said_before_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="draft"):
        choose_engine(tmp_path, "vllm", draft=tmp_path)
    with pytest.raises(ModelError, match="keys and values in int8"):
        choose_engine(tmp_path, "vllm", cache_precision="int8")
    for window in (None, 64):
        with pytest.raises(ModelError, match="window"):
            load_engine(tmp_path, engine="vllm", window=window, sinks=4)
    (tmp_path / "packed-int4.safetensors").touch()
    with pytest.raises(ModelError, match="packed in int4"):
        choose_engine(tmp_path, "vllm")
    with pytest.raises(ModelError, match=r"no engine `fast`.*vllm"):
        choose_engine(tmp_path, "fast")


def test_a_receipt_of_vllm_names_engine_and_precision() -> None:
    receipt = Receipt("m", None, "", Sampling(), {"runner": "vllm 0.32.0 bfloat16 NVIDIA H200"})
    assert loading_of(receipt) == ("vllm", "bfloat16")
