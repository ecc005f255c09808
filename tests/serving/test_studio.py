"""Pictures over HTTP in OpenAI's shape, and the Studio in a real browser: draw, watch, join two draws, paint."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright
from starlette.applications import Starlette

from genwerk.core.workspace import Workspace
from genwerk.recipes.generating import load_generator_recipe, run_generator_recipe
from genwerk.serving.auth import KeyStore
from genwerk.serving.studio_app import create_studio_app

RECIPE = """\
name: {family}-shapes
pictures: ./shapes
family: {family}
settings: {settings}
fit: {{steps: 60, batch: 16, warmup: 2, eval_every: 30, look_every: 60}}
features: {{steps: 20, batch: 16, width: 4}}
evaluate: {{n: 50, resamples: 3}}
"""
SETTINGS = {"flow": "{network: {width: 16, multipliers: [1, 2]}, steps: 4, lr: 3e-3}", "vae": "{codes: 4, width: 4}"}
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which a flow and a VAE of squares and bars were promoted."""
    root, draw = tmp_path_factory.mktemp("studio"), np.random.default_rng(0)
    for index in range(200):
        pixels = draw.integers(0, 40, (8, 8)).astype(np.uint8)
        top, left = draw.integers(0, 4, 2)
        pixels[slice(None) if index % 2 else slice(top, top + 4), left : left + (2 if index % 2 else 4)] = 230
        path = root / "shapes" / ("bars" if index % 2 else "squares") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    workspace = Workspace(root / "work")
    for family, settings in SETTINGS.items():
        recipe = root / f"{family}.yaml"
        recipe.write_text(RECIPE.format(family=family, settings=settings))
        assert run_generator_recipe(load_generator_recipe(recipe), workspace).promoted
    return workspace


@pytest.fixture(scope="module")
def url(drawn: Workspace, serve_app: Callable[[Starlette], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    keys = KeyStore(tmp_path_factory.mktemp("keys") / "keys.json")
    return serve_app(create_studio_app(drawn, "shapes", keys=keys))


@pytest.fixture
def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def pixels(encoded: str | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded or ""))))


def png(values: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_openais_client_draws(client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"flow-shapes", "vae-shapes"}
    asked: dict[str, Any] = {"model": "flow-shapes", "prompt": "bars", "n": 3, "extra_body": {"seed": 7, "steps": 3}}
    first, again = (client.images.generate(**asked) for _ in range(2))
    assert first.data is not None and len(first.data) == 3 and pixels(first.data[0].b64_json).shape == (8, 8)
    assert [one.b64_json for one in first.data] == [one.b64_json for one in again.data or []]
    one = client.images.generate(model="flow-shapes", prompt="bars", n=1, extra_body={"seed": 7, "steps": 3})
    assert (one.data or [])[0].b64_json == first.data[0].b64_json
    assert first.model_extra is not None and first.model_extra["genwerk"]["seed"] == 7


def test_previews_are_streamed(client: OpenAI) -> None:
    stream = client.images.generate(
        model="flow-shapes", prompt="squares,bars", n=2, stream=True, partial_images=3, extra_body={"steps": 8}
    )
    events = list(stream)
    assert [event.type for event in events[-2:]] == ["image_generation.completed"] * 2
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert len(partial) == 2 * 3 and pixels(partial[0].b64_json).shape == (8, 8)


def test_a_masked_start_is_kept_to_the_bit(client: OpenAI) -> None:
    start = np.random.default_rng(0).integers(0, 256, (8, 8))
    mask = np.zeros((8, 8))
    mask[:, 4:] = 255
    extra = {"start": png(start), "mask": png(mask)}
    reply = client.images.generate(model="flow-shapes", prompt="bars", extra_body=extra)
    made = pixels((reply.data or [])[0].b64_json)
    assert np.array_equal(made[:, :4], start[:, :4]) and not np.array_equal(made[:, 4:], start[:, 4:])


def test_two_draws_are_joined(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "vae-shapes", "prompt": "bars", "extra_body": {"seed": 3}}
    alone = client.images.generate(n=3, **asked)
    asked["extra_body"] = {"seed": 3, "between": [0, 2]}
    arc = client.images.generate(n=5, **asked)
    ends = [pixels((arc.data or [])[place].b64_json).astype(int) for place in (0, 4)]
    for end, draw in zip(ends, (0, 2), strict=True):
        assert np.abs(end - pixels((alone.data or [])[draw].b64_json)).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "circles"}, "no class `circles`.*bars, squares"),
        ({"prompt": "красный круг"}, "no class"),
        ({"n": 0}, "`n`"), ({"n": 65}, "`n`"), ({"size": "1024x1024"}, "8x8"),
        ({"response_format": "url"}, "base64"), ({"quality": "hd"}, "not a known field"),
        ({"steps": 0}, "`steps`"), ({"steps": "many"}, "`steps`"), ({"solver": "newton"}, "no solver `newton`"),
        ({"start": "%%"}, "not a picture"), ({"start": png(np.zeros((4, 4)))}, "4 × 4 pixels"),
        ({"mask": png(np.zeros((8, 8)))}, "nothing to keep"), ({"strength": 0.5}, "nothing to change"),
        ({"guidance": "much"}, "`guidance`"), ({"between": [0]}, "`between`"), ({"temperature": 0.5}, "temperature"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(url: str, change: dict[str, Any], message: str) -> None:
    body = {"model": "flow-shapes", "prompt": "bars"} | change
    reply = httpx.post(f"{url}/v1/images/generations", json=body, timeout=60)
    assert reply.status_code == 400
    import re

    assert re.search(message, reply.json()["error"]["message"]), reply.json()


def test_a_vae_has_no_steps_and_no_start(client: OpenAI) -> None:
    for extra in ({"steps": 3}, {"start": png(np.zeros((8, 8)))}, {"guidance": 2}):
        with pytest.raises(BadRequestError, match="a VAE cannot be asked for"):
            client.images.generate(model="vae-shapes", prompt="bars", extra_body=extra)
    with pytest.raises(NotFoundError, match="flow-shapes, vae-shapes"):
        client.images.generate(model="gan-shapes", prompt="bars")


def test_reports_runs_and_health_are_there(url: str) -> None:
    info = httpx.get(f"{url}/v1/genwerk/info").json()
    assert info["text"] is False and info["generators"] == ["flow-shapes", "vae-shapes"]
    studio = httpx.get(f"{url}/v1/genwerk/studio").json()["data"]
    assert studio[0]["classes"] == ["bars", "squares"] and "keep" in studio[0]["uses"]
    report = httpx.get(url + studio[0]["report"])
    assert report.status_code == 200 and "Scorecard" in report.text
    kinds = {run["kind"] for run in httpx.get(f"{url}/v1/genwerk/runs").json()["data"]}
    assert {"pictures", "generator", "features", "scores", "report"} <= kinds
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert "genwerk_" in httpx.get(f"{url}/metrics").text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_the_studio_draws_joins_and_paints(url: str, browser: Browser) -> None:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(url)
    expect(page.locator("#tab-studio")).to_be_visible()
    expect(page.locator("#tab-ask")).to_be_hidden()
    expect(page.locator(".shot:not(.coming)")).to_have_count(16)
    page.locator(".chip.pick", has_text="bars").click()
    expect(page.locator("#studio-status")).to_contain_text("16 pictures in")
    before = page.locator(".shot img").first.get_attribute("src")
    page.locator("#studio-next").click()
    expect(page.locator(".shot img").first).not_to_have_attribute("src", str(before))
    expect(page.locator("#studio-status")).to_contain_text("16 pictures in")
    page.locator("#between-on").check(force=True)
    page.locator("#studio-go").click()
    expect(page.locator("#studio-status")).to_contain_text("draws 0 to 1")
    page.locator("#between-on").uncheck(force=True)
    page.locator(".shot").first.click()
    canvas = page.locator("#brush-canvas")
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.9, steps=8)
    page.mouse.up()
    if folder := os.environ.get("GENWERK_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / "studio-brush.png")
    page.locator("#brush-go").click()
    expect(page.locator("#studio-status")).to_contain_text("16 pictures in")
    page.select_option("#studio-model", "vae-shapes")
    page.locator("#studio-go").click()
    expect(page.locator("#studio-status")).to_contain_text("16 pictures in")
    expect(page.locator("#studio-steps")).to_have_count(0)
    expect(page.frame_locator("#studio-report iframe").locator("h1")).to_have_text("vae-shapes")
    page.locator("#tab-runs").click()
    expect(page.locator(".detail-head h2")).to_be_visible()
    assert problems == []
