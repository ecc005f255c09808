"""Contract of the metrics: what happened is counted, and Prometheus can read it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from genwerk.monitoring.metrics import ServerMetrics


def test_everything_that_is_counted_can_be_scraped() -> None:
    metrics = ServerMetrics()
    metrics.request("/v1/models", "GET", 200, 0.01)
    metrics.first_text("grounded", 0.2)
    metrics.answer("grounded", "stop", prompt_tokens=7, completion_tokens=3, abstained=True)
    metrics.verdicts([("input.pii", "passed"), ("input.pii.email", "redacted")])
    metrics.cancelled()
    metrics.refused()
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    assert found["genwerk_requests_total", "/v1/models", "200", "GET"] == 1
    assert found["genwerk_tokens_total", "prompt"] == 7
    assert found["genwerk_verdicts_total", "input.pii.email", "redacted"] == 1
    assert found["genwerk_abstentions_total",] == found["genwerk_cancelled_total",] == 1
    assert found["genwerk_request_seconds_count", "/v1/models"] == 1
    assert metrics.value("genwerk_overload_refusals_total") == 1


def test_two_servers_in_one_process_do_not_add_up() -> None:
    first, second = ServerMetrics(), ServerMetrics()
    first.cancelled()
    assert (first.value("genwerk_cancelled_total"), second.value("genwerk_cancelled_total")) == (1, 0)
