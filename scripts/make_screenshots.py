"""Pictures of the page for the documentation, taken from a real quickstart: `python scripts/make_screenshots.py`.

Serves the deployment of a workspace on a free port, asks in headless Chromium, opens a citation and the runs, and
writes docs/images/page-{start,citation,runs,report}.png.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect, sync_playwright

STARTING = 8  # times that is knocked, at twice the distance each time: a minute in all
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def take(page: Page, url: str, question: str) -> None:
    page.goto(url)
    expect(page.locator(".example").first).to_be_visible()
    page.screenshot(path=IMAGES / "page-start.png")
    page.fill("#question", question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn").last.locator(".facts-line")).to_be_visible()
    page.locator("button.cite").first.click()
    expect(page.locator(".seal.good")).to_be_visible()
    page.screenshot(path=IMAGES / "page-citation.png")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Runs").click()
    expect(page.locator(".gate").first).to_be_visible()
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / "page-report.png")
    page.locator(".entry", has_text="Adapter").first.click()
    expect(page.locator(".chart svg").first).to_be_visible()
    page.screenshot(path=IMAGES / "page-runs.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", default=".genwerk")
    parser.add_argument("--question", default="What does the assert statement do?")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "genwerk", "serve", "quickstart", "-w", options.workspace, "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=STARTING)) as waiting:
            waiting.get(f"{url}/health").raise_for_status()
        expect.set_options(timeout=60_000)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            take(browser.new_page(viewport={"width": 1280, "height": 800}), url, options.question)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
