"""What the server does, as Prometheus reads it: GET /metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .engine import Engine

LAG_S = (0.08, 0.16, 0.24, 0.32, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


class Metrics(Collector):
    """The metrics of an engine."""

    def __init__(self, engine: Engine) -> None:
        """Begin to count."""
        self._engine = engine
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # memory, computing time, open files
        lag = Histogram(
            "voxtral_lag_seconds",
            "Audio of live streams that had come and was not decoded, whenever something was",
            buckets=LAG_S,
            registry=self._registry,
        )
        engine.observe_lag = lag.observe

    def text(self) -> bytes:
        """Return all of them."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what the engine knows."""
        engine = self._engine
        yield GaugeMetricFamily("voxtral_streams", "Live streams", engine.n_live)
        yield GaugeMetricFamily("voxtral_files", "Files being transcribed", engine.n_files)
        yield GaugeMetricFamily("voxtral_files_waiting", "Files in the queue", engine.n_queued)
        yield GaugeMetricFamily(
            "voxtral_cost_ratio",
            "Computing time for a second of live audio, lately; 0 if it is not known",
            engine.cost or 0.0,
        )
        yield GaugeMetricFamily(
            "voxtral_weights_bytes", "Weights of the model", engine.model.n_bytes
        )
        for name, about, value in (
            ("voxtral_refusals", "Streams and files that found no room", engine.n_refused),
            ("voxtral_audio_seconds", "Audio that was decoded", engine.audio_s),
            ("voxtral_busy_seconds", "Time in which live audio was", engine.scheduler.busy_s),
            ("voxtral_decoder_passes", "Passes of ended streams", engine.n_passes),
            ("voxtral_decoder_columns", "Positions in them", engine.n_columns),
        ):
            yield CounterMetricFamily(name, about, value)
