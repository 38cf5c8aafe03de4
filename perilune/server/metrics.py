"""What operators watch, in Prometheus' form. Names end as vLLM's do: a dashboard for it needs one word changed."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perilune.api.embeddings import Embedded
from perilune.api.energy import EnergyMeter
from perilune.api.model import Model
from perilune.api.streams import ChatReply

FIRST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
REPLY_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """Counts of one server."""

    def __init__(self, model: Model):
        self.registry = CollectorRegistry()
        self.registry.register(_Engine(model))
        given = {"registry": self.registry}
        self._prompt = Counter("perilune:prompt_tokens", "Tokens of prompts.", **given)
        self._cached = Counter("perilune:prompt_tokens_cached", "Those of them that were not computed again.", **given)
        self._written = Counter("perilune:generation_tokens", "Tokens of replies.", **given)
        self._embedded = Counter("perilune:embedded_texts", "Texts that were made vectors of.", **given)
        self._ended = Counter("perilune:request_success", "Replies by why they ended.", ["finished_reason"], **given)
        self._refused = Counter("perilune:request_refused", "Answers that were errors, by status.", ["status"], **given)
        self._first = Histogram(
            "perilune:time_to_first_token_seconds", "From the request on.", buckets=FIRST_SECONDS, **given
        )
        self._whole = Histogram(
            "perilune:e2e_request_latency_seconds",
            "From the request to the last token.",
            buckets=REPLY_SECONDS,
            **given,
        )

    def told(self, reply: ChatReply | Embedded, first: float | None, seconds: float) -> None:
        """A reply that has ended, or texts that are embedded, after so many seconds; `first` until its first piece."""
        self._prompt.inc(reply.usage.prompt_tokens)
        self._cached.inc(reply.usage.cached_tokens)
        self._written.inc(reply.usage.completion_tokens)
        self._ended.labels(reply.finish_reason).inc()
        self._whole.observe(seconds)
        if isinstance(reply, Embedded):
            self._embedded.inc(len(reply.vectors_ND))
        elif first is not None:
            self._first.observe(first)

    def refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Engine(Collector):
    """What is read off the engine when somebody asks."""

    def __init__(self, model: Model):
        self.model, self.meter = model, EnergyMeter()

    def collect(self) -> Iterable[Metric]:
        scheduler = self.model.engine.scheduler
        yield GaugeMetricFamily(
            "perilune:num_requests_running", "Replies being read for or written.", len(scheduler.running)
        )
        yield GaugeMetricFamily("perilune:num_requests_waiting", "Requests in the queue.", len(scheduler.waiting))
        store = self.model.experts
        if store is not None:
            stats = store.stats.copy()
            yield CounterMetricFamily("perilune:expert_cache_hits", "Experts that were in memory.", stats.hits)
            yield CounterMetricFamily("perilune:expert_cache_misses", "Experts that were read from disk.", stats.misses)
            yield CounterMetricFamily("perilune:expert_bytes_read", "Bytes of experts from disk.", stats.bytes_read)
        joules = self.meter.joules()
        if joules is not None:
            yield CounterMetricFamily(
                "perilune:energy_joules", "Of the machine's processors, whoever used them.", joules
            )
