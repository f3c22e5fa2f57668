"""Alerts of what watches the sale: targets, processes, telemetry, the collector."""

from monitoring.rules.model import Alert, Group, Timescale

SERVICE_JOBS = ("api", "worker")
FRONT_JOB = "front"
OTHER_JOBS = ("otel-collector", "spans", "jaeger", "alertmanager", "prometheus")
"""The jobs of monitoring/prometheus/prometheus.yml."""

_COLLECTOR = '{job="otel-collector"}'  # Jaeger is built on the collector and has series of the same names


def watch_groups(t: Timescale) -> tuple[Group, ...]:
    """Return the alerts about what must be there for all others to be right."""
    return (
        Group(name="target_alerts", rules=(*_targets(t), *_processes(t))),
        Group(name="alerting_alerts", rules=_alerting(t)),
        Group(name="telemetry_alerts", rules=(*_telemetry(t), *_collector(t))),
    )


def _targets(t: Timescale) -> tuple[Alert, ...]:
    return (
        Alert(
            name="TargetMissing",
            severity="page",
            expr=missing_targets(SERVICE_JOBS),
            hold=t.hold("30s"),
            summary="{{ $labels.job }} {{ $labels.instance }} cannot be scraped.",
            description="A replica of the service does not answer, or none is known to Prometheus.",
        ),
        Alert(
            name="FrontDown",
            severity="page",
            expr=missing_targets((FRONT_JOB,)),
            hold=t.hold("15s"),
            summary="Nobody comes in by {{ $labels.instance }}.",
            description="A request to the published port does not come back from a replica; those who are not served "
            "are in no other figure.",
        ),
        Alert(
            name="MonitoringTargetMissing",
            severity="ticket",
            expr=missing_targets(OTHER_JOBS),
            hold=t.hold("1m"),
            summary="{{ $labels.job }} {{ $labels.instance }} cannot be scraped.",
            description="The sale goes on; what this part shows or keeps is missing.",
        ),
    )


def _processes(t: Timescale) -> tuple[Alert, ...]:
    return (
        Alert(
            name="ProcessRestarting",
            severity="ticket",
            expr=f"max by (job, instance, worker) (changes(process_start_time_seconds[{t.window('15m')}])) > 2\n"
            "or max by (job, instance) "
            f"(resets(otelcol_process_uptime_seconds_total[{t.window('15m')}])) > 2",
            summary="{{ $labels.worker }} of {{ $labels.instance }} starts again and again.",
            description="{{ $value }} times in 15 minutes: it is killed, for its memory perhaps, or it crashes.",
        ),
        Alert(
            name="ProcessUnreachable",
            severity="ticket",
            expr=f"sum by (instance) (increase(telemetry_worker_unreachable_total[{t.window('1m')}])) > 0",
            hold=t.hold("30s"),
            summary="A process of {{ $labels.instance }} does not answer its siblings.",
            description="Its series are missing from every scrape; it hangs, or is starved of CPU.",
        ),
    )


def _alerting(t: Timescale) -> tuple[Alert, ...]:
    """Return the alerts about the alerts: one that stops when they do, and what keeps them from being told."""
    told, judged = t.window("2m"), t.window("5m")
    unsent = ("prometheus_notifications_errors_total", "prometheus_notifications_dropped_total")
    wrong = ("prometheus_rule_evaluation_failures_total", "prometheus_tsdb_compactions_failed_total")
    return (
        Alert(
            name="Watchdog",
            severity="none",
            expr="count(up == 1) > 0",
            summary="Prometheus scrapes, evaluates its rules and tells Alertmanager.",
            description="It fires for as long as all is well. Somebody outside must miss it: a dead man's switch.",
        ),
        Alert(
            name="AlertsNotDelivered",
            severity="page",
            expr="\nor ".join(
                (
                    *(f"sum by (instance) (increase({name}[{told}])) > 0" for name in unsent),
                    f"sum by (instance, integration) (increase(alertmanager_notifications_failed_total[{told}])) > 0",
                    "min by (instance) (prometheus_notifications_alertmanagers_discovered) < 1",
                )
            ),
            hold=t.hold("3m"),
            summary="Alerts do not reach who should hear of them{{ with $labels.integration }}, by {{ . }}{{ end }}.",
            description="{{ $labels.instance }} cannot hand them on: look at Prometheus and Alertmanager themselves.",
        ),
        Alert(
            name="PrometheusFaulty",
            severity="ticket",
            expr="\nor ".join(
                (
                    *(f"sum by (instance) (increase({name}[{judged}])) > 0" for name in wrong),
                    "min by (instance) (prometheus_config_last_reload_successful) == 0",
                    "min by (instance) (alertmanager_config_last_reload_successful) == 0",
                )
            ),
            summary="{{ $labels.instance }} fails at its rules, its data or its configuration.",
            description="A rule that cannot be evaluated never fires; a configuration that cannot be read is not used.",
        ),
    )


def missing_targets(jobs: tuple[str, ...]) -> str:
    """Return what is true of a target of these jobs that cannot be scraped, and of a job without any."""
    known = "|".join(jobs)
    return "\nor ".join([f'up{{job=~"{known}"}} == 0', *(f'absent(up{{job="{job}"}})' for job in jobs)])


def _telemetry(t: Timescale) -> tuple[Alert, ...]:
    minutes = t.window("5m")
    by = "sum by (instance, worker, otel_component_type, error_type)"
    lost = [
        f'{by} (increase(otel_sdk_{what}_total{{error_type!=""}}[{minutes}])) > 0'
        for signal in ("span", "log")
        for what in (f"processor_{signal}_processed", f"exporter_{signal}_exported")
    ]
    own = {
        "telemetry_failures_total": ", part",
        "telemetry_observations_dropped_total": ", instrument",
        "telemetry_observations_overflowed_total": ", instrument",
        "flash_sale_windows_dropped_total": "",
    }
    faulty = [f"sum by (instance, worker{label}) (increase({name}[{minutes}])) > 0" for name, label in own.items()]
    return (
        Alert(
            name="TelemetryNotDelivered",
            severity="ticket",
            expr="\nor ".join(lost),
            hold=t.hold("30s"),
            summary="Spans or log lines of {{ $labels.worker }} are lost on the way to the collector.",
            description='{{ $value | printf "%.0f" }} in 5 minutes, at {{ $labels.otel_component_type }} '
            "({{ $labels.error_type }}). Metrics and orders are not affected.",
        ),
        Alert(
            name="TelemetryFaulty",
            severity="ticket",
            expr="\nor ".join(faulty),
            summary="Observations of {{ $labels.worker }} are missing in the metrics.",
            description='{{ $value | printf "%.0f" }} in 5 minutes{{ with $labels.instrument }}, of {{ . }}{{ end }}'
            "{{ with $labels.part }}, in the {{ . }}{{ end }}.",
        ),
    )


def _collector(t: Timescale) -> tuple[Alert, ...]:
    reasons = ("exporter_enqueue_failed", "receiver_refused")
    dropped = [f"otelcol_{reason}_{signal}_total" for reason in reasons for signal in ("spans", "log_records")]
    return (
        Alert(
            name="CollectorQueueFilling",
            severity="ticket",
            expr="max by (instance, exporter) "
            f"(otelcol_exporter_queue_size{_COLLECTOR} / otelcol_exporter_queue_capacity{_COLLECTOR}) > 0.5",
            hold=t.hold("30s"),
            summary="The collector's queue for {{ $labels.exporter }} is {{ $value | humanizePercentage }} full.",
            description="What it sends to does not take it; when the queue is full, spans are lost.",
        ),
        Alert(
            name="CollectorDropping",
            severity="ticket",
            expr="\nor ".join(
                f"sum by (instance) (increase({name}{_COLLECTOR}[{t.window('5m')}])) > 0" for name in dropped
            ),
            summary="The collector loses or refuses telemetry.",
            description='{{ $value | printf "%.0f" }} items in 5 minutes: a queue is full, or its memory is.',
        ),
    )
