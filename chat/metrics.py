"""What a Prometheus server may scrape: GET /metrics. Labels take few values: no ids, no names, no raw paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from chat.watcher import Watcher
from lm.figures import Figures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one application, in a registry of its own: two applications in a process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        mine = self.registry
        self.requests = Counter(
            "ratchet_http_requests", "HTTP requests answered", ["method", "route", "status"], registry=mine
        )
        self.ratings = Counter("ratchet_ratings", "Ratings taken", ["surface", "kind"], registry=mine)
        self.first = Histogram(
            "ratchet_time_to_first_token_seconds",
            "Seconds from a request to its first piece",
            ["surface"],
            buckets=FIRST,
            registry=mine,
        )
        self.whole = Histogram(
            "ratchet_answer_seconds",
            "Seconds from a request to its recorded answer",
            ["surface"],
            buckets=WHOLE,
            registry=mine,
        )
        self.waited = Histogram(
            "ratchet_queue_wait_seconds",
            "Seconds a request waited for a slot",
            ["surface"],
            buckets=FIRST,
            registry=mine,
        )

    def answered(self, surface: str, first: float | None, seconds: float, waited: float) -> None:
        """Count an answer: seconds to its first piece (None: it has none), to its end, and in the queue."""
        if first is not None:
            self.first.labels(surface).observe(first)
        self.waited.labels(surface).observe(waited)
        self.whole.labels(surface).observe(seconds)

    def rated(self, surface: str, kind: str) -> None:
        """Count a rating that was taken."""
        self.ratings.labels(surface, kind).inc()

    def watch(self, figures: Callable[[], Figures], watcher: Watcher, base: str) -> None:
        """Read the engine's figures and the versions at each scrape."""
        self.registry.register(_Present(figures, watcher, base))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)


class _Present(Collector):
    """What holds now, and what the engine has counted itself."""

    def __init__(self, figures: Callable[[], Figures], watcher: Watcher, base: str) -> None:
        self._figures, self._watcher, self._base = figures, watcher, base

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would otherwise collect once to learn the names, before the engine runs."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        now, watcher = self._figures(), self._watcher
        for name, what, value in (
            ("ratchet_slots", "Requests that can generate at the same time", now.slots),
            ("ratchet_requests_running", "Requests that generate now", now.running),
            ("ratchet_requests_waiting", "Requests that wait for a slot", now.waiting),
            ("ratchet_prefix_cache_bytes", "Memory of kept prompt beginnings", now.cache_bytes),
            ("ratchet_serving_version", "The version that serves", watcher.serving.id),
            ("ratchet_versions_held", "Versions in memory, the base included", len(watcher.held())),
            ("ratchet_versions_refused", "Versions that could not be loaded", len(watcher.refused)),
        ):
            yield GaugeMetricFamily(name, what, value=value)
        for name, what, value in (
            ("ratchet_prompt_tokens", "Prompt tokens of requests", now.prompt_tokens),
            ("ratchet_cached_tokens", "Prompt tokens taken from the prefix cache", now.cached_tokens),
            ("ratchet_generated_tokens", "Tokens drawn", now.generated_tokens),
        ):
            yield CounterMetricFamily(name, what, value=value)
        ended = CounterMetricFamily("ratchet_answers", "Answers by how they ended", labels=["ended"])
        for reason, count in sorted(now.ended.items()):
            ended.add_metric([reason], count)
        yield ended
        yield InfoMetricFamily("ratchet_base", "The base model", value={"base": self._base})
