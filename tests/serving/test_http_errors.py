"""Contract of the door: every bad request has its status, in OpenAI's error shape, and names the remedy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from genwerk.core.errors import RequestError
from genwerk.serving import assistant
from genwerk.serving.app import create_app
from genwerk.serving.auth import KeyStore

CHAT = "/v1/chat/completions"


@pytest.fixture
def http(running: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return dict(body["error"])


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"model": NaN'])
def test_invalid_json_is_400(http: httpx.Client, body: bytes) -> None:
    response = http.post(CHAT, content=body)
    assert response.status_code == 400 and problem(response)["code"] == "invalid_json"


USER = [{"role": "user", "content": "x"}]
SMALLEST: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "handbook-base", "messages": USER, "grounded": False, "max_tokens": 1},
    "completions": {"model": "handbook-base", "prompt": "x", "max_tokens": 1},
    "embeddings": {"model": "encoder", "input": "x"},
    "rerank": {"model": "encoder", "query": "x", "documents": ["x"]},
    "load_lora_adapter": {"lora_name": "x", "lora_path": "x"},
    "unload_lora_adapter": {"lora_name": "x"},
}


@pytest.mark.parametrize("half", ["\\ud800", "a\\udc00b", "\\udc00\\ud800"])
@pytest.mark.parametrize("path", SMALLEST)
def test_half_a_character_is_refused_wherever_it_stands(http: httpx.Client, path: str, half: str) -> None:
    for name, value in SMALLEST[path].items():
        if "x" in (told := json.dumps(value)):
            rest = {key: other for key, other in SMALLEST[path].items() if key != name}
            body = json.dumps(rest)[:-1] + f', "{name}": {told.replace(chr(34) + "x", chr(34) + half)}}}'
            refused = http.post(f"/v1/{path}", content=body.replace("{, ", "{"))
            assert refused.status_code == 400 and problem(refused)["param"] == name, (name, refused.text)
    named = http.post(f"/v1/{path}", content=f'{{"{half}": 1}}')
    assert named.status_code == 400 and problem(named)["code"] == "invalid_value"


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 10**400), ("temperature", 10**400), ("temperature", -(10**400)), ("max_tokens", 10**400),
     ("priority", 10**400), ("n", 10**400), ("top_p", float("nan")), ("temperature", float("inf")),
     ("logit_bias", {"²": 1}), ("logit_bias", {"9" * 5000: 1}), ("logit_bias", {"1": 10**400}),
     ("stop_token_ids", [True]), ("stop_token_ids", [10**400])],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_odd_numbers_are_refused_by_name(http: httpx.Client, path: str, name: str, value: Any) -> None:
    refused = http.post(f"/v1/{path}", content=json.dumps(SMALLEST[path] | {name: value}))
    assert refused.status_code == 400 and problem(refused)["param"] in (name, "stop_tokens"), refused.text


@pytest.mark.parametrize("odd", ["\0", "\uffff", "x" * 5000, "a\0/b", "𝄞", "\u202e", "e" + "\u0301" * 300])
@pytest.mark.parametrize("path", SMALLEST)
def test_odd_but_whole_text_is_no_surprise(http: httpx.Client, path: str, odd: str) -> None:
    for name, value in SMALLEST[path].items():
        if "x" in (told := json.dumps(value)):
            asked = SMALLEST[path] | {name: json.loads(told.replace('"x"', json.dumps(odd)))}
            assert http.post(f"/v1/{path}", json=asked).status_code in (200, 400, 404), name


LONG = "word " * 9000


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "change"),
    [("chat/completions", {}), ("chat/completions", {"n": 2, "temperature": 1}),
     ("chat/completions", {"best_of": 3, "temperature": 1}), ("chat/completions", {"grounded": True}),
     ("completions", {}), ("completions", {"prompt": ["a", "b"], "n": 2, "temperature": 1})],
)  # fmt: skip
def test_what_the_engine_refuses_has_its_status_in_a_stream_too(
    running: Any, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str, change: dict[str, Any], stream: bool
) -> None:
    def refuse(asked: Any) -> Any:
        raise RequestError("this engine has no such thing", param="min_p", status=422, code="unsupported_parameter")

    monkeypatch.setattr(running.assistant.deployment.engine, "_answer", refuse)
    refused = http.post(f"/v1/{path}", json=SMALLEST[path] | {"stream": stream} | change)
    assert (refused.status_code, problem(refused)["param"]) == (422, "min_p"), refused.text
    assert running.app.state.admission.in_flight == 0


def test_an_adapter_that_goes_before_its_answer_starts_is_404_in_a_stream(
    running: Any, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, guards = running.assistant.deployment.engine, assistant.inspect_text

    def remove_and_look(*given: Any) -> Any:
        monkeypatch.setattr(type(engine), "adapters", property(lambda self: ()))
        return guards(*given)

    monkeypatch.setattr(assistant, "inspect_text", remove_and_look)
    gone = http.post(CHAT, json=SMALLEST["chat/completions"] | {"model": "handbook", "stream": True})
    assert gone.status_code == 404 and problem(gone)["code"] == "model_not_found"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("prompts", [LONG, [LONG], ["x", LONG], [[1] * 9000], ["x", "y", LONG]])
def test_one_long_prompt_refuses_all_before_anything_is_computed(
    running: Any, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, prompts: Any, stream: bool
) -> None:
    engine, steps = running.assistant.deployment.engine, list[Any]()
    monkeypatch.setattr(engine.runner, "step", steps.append)
    refused = http.post("/v1/completions", json=SMALLEST["completions"] | {"prompt": prompts, "stream": stream})
    assert refused.status_code == 400 and problem(refused)["param"] == "prompt"
    assert problem(refused)["code"] == "context_length_exceeded" and "(prompt)" in problem(refused)["message"]
    assert steps == [] and not engine.scheduler.waiting


def test_unknown_route_is_404_and_wrong_method_405(http: httpx.Client) -> None:
    missing = http.get("/v1/other")
    assert missing.status_code == 404 and problem(missing)["code"] == "unknown_url"
    wrong = http.get(CHAT)
    assert wrong.status_code == 405 and problem(wrong)["code"] == "method_not_allowed"
    assert "POST" in wrong.headers["allow"] and "POST" in problem(wrong)["message"]
    assert http.get("/static/../app.py").status_code == 404
    assert http.get("/static/%2e%2e/app.py").status_code == 404


def test_unknown_document_run_and_answer_are_404(http: httpx.Client) -> None:
    for path, code in (("documents/none", "document_not_found"), ("runs/ffff", "run_not_found"),
                       ("answers/ans-none/trace", "answer_not_found")):  # fmt: skip
        response = http.get(f"/v1/genwerk/{path}")
        assert response.status_code == 404 and problem(response)["code"] == code


def test_a_body_of_50_mb_is_refused_over_the_wire(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 1_000_000

    streamed = http.post(CHAT, content=pieces())
    assert streamed.status_code == 413 and problem(streamed)["code"] == "request_too_large"
    announced = http.post(CHAT, content=b"x" * 9_000_000)
    assert announced.status_code == 413
    assert http.get("/health").status_code == 200


def call(app: Any, *, headers: list[tuple[bytes, bytes]], pieces: Iterator[bytes]) -> tuple[int, dict[str, Any], int]:
    """Send one POST straight into the application: status, body, and how many pieces it took."""
    taken, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        piece = next(pieces, None)
        taken += piece is not None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
             "headers": [(b"host", b"localhost"), *headers], "http_version": "1.1", "scheme": "http",
             "root_path": "", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body), taken


def test_an_endless_body_is_not_read_past_the_limit(running: Any) -> None:
    endless = iter(lambda: b"x" * 1_000_000, None)
    status, body, taken = call(running.app, headers=[], pieces=endless)
    assert (status, body["error"]["code"], taken) == (413, "request_too_large", 9)


def test_an_announced_length_over_the_limit_is_refused_unread(running: Any) -> None:
    status, _, taken = call(running.app, headers=[(b"content-length", b"50000000")], pieces=iter([b"x"]))
    assert (status, taken) == (413, 0)


def test_foreign_hosts_and_origins_are_refused(http: httpx.Client) -> None:
    rebound = http.get("/v1/models", headers={"Host": "evil.example"})
    assert rebound.status_code == 403 and problem(rebound)["code"] == "wrong_host"
    for origin in ("https://evil.example", "null"):
        crossed = http.post(CHAT, headers={"Origin": origin}, json={})
        assert crossed.status_code == 403 and problem(crossed)["code"] == "wrong_origin"
    own = str(http.base_url).rstrip("/")
    assert http.get("/v1/models", headers={"Origin": own}).status_code == 200


def test_every_response_carries_the_strict_headers(http: httpx.Client) -> None:
    for path in ("/", "/health", "/v1/models", "/nothing", "/static/app.js"):
        headers = http.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_what_the_server_did_not_expect_stays_inside(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()

    def broken(*arguments: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.assistant, "answer", broken)
    body = {"model": "handbook", "messages": [{"role": "user", "content": "x"}]}
    response = httpx.post(f"{server.url}{CHAT}", json=body, timeout=60)
    assert response.status_code == 500 and problem(response)["code"] == "internal_error"
    assert "secret" not in response.text
    assert server.app.state.admission.in_flight == 0


def test_report_needs_its_ticket_once_keys_exist(start_server: Callable[..., Any], tmp_path: Any) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    secret = keys.add("me")
    server = start_server(keys=tmp_path / "keys.json")
    bearer = {"Authorization": f"Bearer {secret}"}
    runs = httpx.get(f"{server.url}/v1/genwerk/runs", headers=bearer).json()["data"]
    link = next(run["report"] for run in runs if run["report"])
    opened = httpx.get(f"{server.url}{link}")
    assert opened.status_code == 200 and "script" not in opened.headers["content-security-policy"]
    assert httpx.get(f"{server.url}{link}0").status_code == 401
    assert httpx.get(f"{server.url}{link.partition('?')[0]}").status_code == 401
    for path in ("/metrics", "/v1/genwerk/runs", "/v1/models"):
        assert httpx.get(f"{server.url}{path}").status_code == 401
    assert httpx.get(f"{server.url}/health").status_code == 200 and httpx.get(server.url).status_code == 200


def test_a_proxy_name_is_allowed_when_told(running: Any, tmp_path: Any) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    for hosts, status in ((("docs.example",), 200), (None, 200), (("localhost",), 403)):
        app = create_app(running.assistant, keys=keys, hosts=hosts)
        transport = httpx.ASGITransport(app=app)

        async def get(transport: httpx.ASGITransport = transport) -> int:
            async with httpx.AsyncClient(transport=transport, base_url="http://docs.example") as client:
                return (await client.get("/health")).status_code

        assert asyncio.run(get()) == status
