from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling
from genwerk.inference.engine import Engine

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def ask(kind: str, value: Any = "", **sampling: Any) -> Request:
    settings = Sampling(**{"max_tokens": 400, "temperature": 1.2} | sampling)
    text = value if isinstance(value, str) else json.dumps(value)
    return Request((Message("user", "Who?"),), settings, constraint=Constraint(kind, text))


@pytest.mark.parametrize("seed", range(12))
def test_random_weights_make_valid_json(tiny_engine: Engine, seed: int) -> None:
    generation = tiny_engine.generate(ask("json_schema", PERSON, seed=seed))
    person = json.loads(generation.text)
    assert generation.finish_reason == "stop"
    assert set(person) == {"name", "age"}
    assert len(person["name"]) <= 8
    assert 0 <= person["age"] <= 150


def test_each_kind_is_kept(tiny_engine: Engine) -> None:
    for seed in range(5):
        assert tiny_engine.generate(ask("choice", ["yes", "no", 'per"haps'], seed=seed)).text in (
            "yes",
            "no",
            'per"haps',
        )
        assert re.fullmatch(r"[a-c]{2,5}-\d", tiny_engine.generate(ask("regex", r"[a-c]{2,5}-\d", seed=seed)).text)
        told = tiny_engine.generate(ask("grammar", 'start: "<" /[0-9]{1,3}/ ">"', seed=seed)).text
        assert re.fullmatch(r"<[0-9]{1,3}>", told)


def test_any_json_is_an_object_as_far_as_it_goes(tiny_engine: Engine) -> None:
    assert tiny_engine.generate(ask("json", max_tokens=40)).text.lstrip().startswith("{")


def test_forced_text_takes_fewer_steps_and_changes_nothing(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    if engine.runner.aligned > 1:
        pytest.skip("this runner computes token by token")
    request = ask("regex", "(a long text that cannot be otherwise: (yes|no))", seed=3)
    steps: list[int] = []
    step = engine.runner.step
    engine.runner.step = lambda chunks: (steps.append(1), step(chunks))[1]  # type: ignore[method-assign]
    fast = engine.generate(request)
    taken = len(steps)
    engine.scheduler._draft = lambda *_: ()  # type: ignore[method-assign]
    slow = engine.generate(request)
    assert (fast.text, fast.tokens) == (slow.text, slow.tokens)
    assert taken < (len(steps) - taken) / 2


def test_forms_are_kept_beside_free_answers(tiny_engine: Engine) -> None:
    free = Request((Message("user", "Hello"),), Sampling(max_tokens=30, temperature=1.0, seed=5))
    alone = [tiny_engine.generate(one).tokens for one in (ask("json_schema", PERSON, seed=2), free)]
    streams = [tiny_engine.stream(one) for one in (ask("json_schema", PERSON, seed=2), free)]
    got: list[list[int | None]] = [[], []]
    for _ in range(400):
        for n, stream in enumerate(streams):
            if (delta := next(stream, None)) is not None:
                got[n].append(delta.token)
    assert [tuple(tokens) for tokens in got] == alone


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (
            "json_schema",
            {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
            r"not.*at #/properties/a/not",
        ),
        ("json_schema", {"properties": {"a/b": {"type": "strin"}}}, r"strin.*at #/properties/a~1b/type"),
        ("json_schema", "{", "not valid JSON"),
        ("json_schema", "[]", "JSON object"),
        ("regex", "(a|b", "unclosed group"),
        ("grammar", 'start: "a" | foo', "foo"),
        ("choice", [], "list of texts"),
        ("choice", ["a", ""], "list of texts"),
        ("poem", "", "known: json_schema, json, regex, grammar, choice"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_with_its_place(tiny_engine: Engine, kind: str, value: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        tiny_engine.stream(ask(kind, value))
    assert (caught.value.status, caught.value.param) == (400, "response_format")


def test_a_form_is_compiled_once_and_followed_anew(tiny_engine: Engine) -> None:
    request = ask("choice", ["yes", "no"], seed=4)
    tiny_engine.stream(request).close()
    told = [tiny_engine.generate(request).text for _ in range(3)]
    assert len(set(told)) == 1
    assert tiny_engine._compiler._compiled.cache_info().misses == 1


def test_a_receipt_brings_the_form_back(tiny_engine: Engine) -> None:
    request = ask("json_schema", PERSON, seed=8)
    first = tiny_engine.generate(request)
    assert tiny_engine.replay(first.receipt, request.messages).text == first.text


SCHEMAS = st.recursive(
    st.sampled_from([{"type": "integer"}, {"type": "boolean"}, {"type": "string", "maxLength": 4}, {"enum": ["a", 1]}]),
    lambda inner: (
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(
            lambda found: {
                "type": "object",
                "properties": found,
                "required": list(found),
                "additionalProperties": False,
            }
        )
        | inner.map(lambda item: {"type": "array", "items": item, "minItems": 1, "maxItems": 2})
    ),
    max_leaves=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SCHEMAS, st.integers(0, 1000))
def test_random_schemas_are_obeyed(tiny_engine: Engine, schema: dict[str, Any], seed: int) -> None:
    generation = tiny_engine.generate(ask("json_schema", schema, seed=seed, max_tokens=900, top_k=20))
    if generation.finish_reason == "length":  # whitespace without end is valid JSON so far
        return
    assert fits(json.loads(generation.text), schema)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """A validator for the schemas above."""
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str) and len(value) <= 4
        case "array":
            return 1 <= len(value) <= 2 and all(fits(item, schema["items"]) for item in value)
    return set(value) == set(schema["properties"]) and all(fits(value[key], schema["properties"][key]) for key in value)
