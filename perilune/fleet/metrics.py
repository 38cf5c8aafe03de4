"""What operators watch of several replicas: the counts of each under its name, and those of the front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from perilune.fleet.sending import Sender


class FleetMetrics:
    """Counts of the front of several replicas."""

    def __init__(self, sender: Sender):
        self.registry = CollectorRegistry()
        self.registry.register(_Front(sender))
        self._refused = Counter(
            "perilune:fleet_refused", "Answers of the front that were errors.", ["status"], registry=self.registry
        )

    def refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def text(self, told: Mapping[str, str]) -> bytes:
        """Prometheus' form; `told` is what each replica says, by name."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Labelled(told))
        return generate_latest(self.registry) + generate_latest(registry)


class _Front(Collector):
    """What is read off the front when somebody asks."""

    def __init__(self, sender: Sender):
        self.sender = sender

    def collect(self) -> Iterable[Metric]:
        fleet = self.sender.fleet
        yield GaugeMetricFamily("perilune:fleet_replicas", "Replicas there should be.", fleet.count)
        yield GaugeMetricFamily("perilune:fleet_replicas_ready", "Those that answer.", len(fleet.ready()))
        yield CounterMetricFamily("perilune:fleet_replicas_lost", "Replicas that died.", fleet.restarts)
        yield CounterMetricFamily("perilune:fleet_retried", "Requests sent to another replica.", self.sender.retried)
        open_now = GaugeMetricFamily("perilune:fleet_open", "Requests a replica has open.", labels=["replica"])
        for name, replica in fleet.ready().items():
            open_now.add_metric([name], replica.open)
        yield open_now


class _Labelled(Collector):
    def __init__(self, told: Mapping[str, str]):
        self.told = told

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for replica, text in self.told.items():
            for one in text_string_to_metric_families(text):
                family = families.setdefault(one.name, Metric(one.name, one.documentation, one.type))
                for sample in one.samples:
                    family.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
        return families.values()
