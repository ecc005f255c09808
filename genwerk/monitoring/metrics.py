"""Prometheus metrics of one server: requests, tokens, latency, verdicts, abstentions, cancellations.

Each `ServerMetrics` has its own registry, so that several servers in one process do not add up. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class ServerMetrics:
    """Counters and histograms named `genwerk_*`; `render` gives the text that Prometheus scrapes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests answered.", "route", "method", "status")
        self._request_seconds = self._histogram("request_seconds", "Time to the last byte of a reply.", "route")
        self._first_text = self._histogram("first_text_seconds", "Time to the first text of an answer.", "mode")
        self._answers = self._counter("answers", "Answers given, by how they ended.", "mode", "finish_reason")
        self._tokens = self._counter("tokens", "Tokens read and written.", "kind")
        self._verdicts = self._counter("verdicts", "Verdicts of guards.", "rule", "outcome")
        self._abstentions = self._counter("abstentions", "Grounded questions that were not answered.")
        self._cancelled = self._counter("cancelled", "Generations stopped because the client had gone.")
        self._refused = self._counter("overload_refusals", "Requests refused because the queue was full.")
        self.in_flight = Gauge(
            "genwerk_in_flight", "Generations running or waiting for the engine.", registry=self.registry
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"genwerk_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"genwerk_{name}", text, labels, registry=self.registry, buckets=_SECONDS)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One HTTP request; `route` is the pattern, not the path, so that labels stay few."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def first_text(self, mode: str, seconds: float) -> None:
        """The first text of an answer left after this time. `mode` is grounded or plain."""
        self._first_text.labels(mode).observe(seconds)

    def answer(
        self, mode: str, finish_reason: str, *, prompt_tokens: int, completion_tokens: int, abstained: bool
    ) -> None:
        """One finished answer."""
        self._answers.labels(mode, finish_reason).inc()
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)
        if abstained:
            self._abstentions.inc()

    def verdicts(self, found: Iterable[tuple[str, str]]) -> None:
        """(rule, outcome) of each guard that looked."""
        for rule, outcome in found:
            self._verdicts.labels(rule, outcome).inc()

    def cancelled(self) -> None:
        """A client left and its generation was stopped."""
        self._cancelled.inc()

    def refused(self) -> None:
        """The queue was full."""
        self._refused.inc()

    def value(self, name: str, **labels: str) -> float:
        """The present value of a sample such as `genwerk_cancelled_total`; 0 if it never moved."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
