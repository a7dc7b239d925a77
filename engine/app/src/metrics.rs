//! What the engine counts, in Prometheus' text form. Labels are bounded: codes and words of the engine, never
//! ids, URLs or a partner's text.

use std::time::Duration;

use engate_model::job::RunState;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttemptLabels {
    /// `success`, `retry`, `fail`, `disable`, `transport_error`, `plugin_fault`, `skipped`.
    pub(crate) outcome: &'static str,
}

/// A plugin's fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FaultLabels {
    /// The fault's stable code.
    pub(crate) code: &'static str,
}

/// A partner's call at an inbound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct InboundLabels {
    /// `answered`, `refused`, `plugin_fault`, `event_refused`, `id_conflict`, `rate_limited`, `too_large`,
    /// `invalid_body`, `not_found`, `unavailable`.
    pub(crate) outcome: &'static str,
}

/// Runs of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RunLabels {
    /// What the job runs: `emit`, `sync`, `poll`, `engine`.
    pub(crate) kind: &'static str,
    /// How they ended: `succeeded`, `failed`, `cancelled`, `queued` where they were given back.
    pub(crate) state: &'static str,
}

/// Runs as they are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TickLabels {
    /// `queued`, or `skipped` where they were left out.
    pub(crate) state: &'static str,
}

/// A stream of a sync job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StreamLabels {
    /// The job's name.
    pub(crate) job: String,
    /// The stream's.
    pub(crate) stream: String,
    /// The partition, as people read it.
    pub(crate) part: String,
}

/// What is forgotten because it is old.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HistoryLabels {
    /// `events`, `attempts`, `deliveries`, `idempotency_keys`, `access`, `runs`, `recoveries`.
    pub(crate) kind: &'static str,
}

/// A delivery that a recovery went through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RecoveryLabels {
    /// `retried`, or why it was left out: `in_progress`, `succeeded`, `newer_version` and so on.
    pub(crate) outcome: &'static str,
}

/// An API call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    /// HTTP method.
    pub(crate) method: String,
    /// Route template, never the path itself.
    pub(crate) route: String,
    /// HTTP status.
    pub(crate) status: u16,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Events taken, duplicates not included.
    pub(crate) events_accepted: Counter,
    /// Repeats recognised by their idempotency key.
    pub(crate) events_duplicate: Counter,
    /// Tries, by how they ended.
    pub(crate) attempts: Family<AttemptLabels, Counter>,
    /// Seconds from the start of a try to its verdict.
    pub(crate) attempt_seconds: Histogram,
    /// Seconds from acceptance to the start of the first try.
    pub(crate) first_attempt_delay_seconds: Histogram,
    /// Plugin faults, by code.
    pub(crate) plugin_faults: Family<FaultLabels, Counter>,
    /// How far behind the streams of sync jobs are.
    pub(crate) sync_lag: Family<StreamLabels, Gauge>,
    /// Deliveries held in memory.
    pub(crate) queued: Gauge,
    /// Requests under way.
    pub(crate) in_flight: Gauge,
    /// Calls that were not recorded, because the database took nothing for too long.
    pub(crate) access_entries_lost: Gauge,
    /// Deliveries that the index of texts is behind.
    pub(crate) texts_lag: Gauge,
    /// Rows forgotten because they are old.
    pub(crate) history_purged: Family<HistoryLabels, Counter>,
    /// Deliveries that recoveries went through, by what became of each.
    pub(crate) recovered: Family<RecoveryLabels, Counter>,
    /// API calls.
    pub(crate) calls: Family<CallLabels, Counter>,
    /// Partners' calls at inbounds, by how they ended.
    pub(crate) inbound_calls: Family<InboundLabels, Counter>,
    /// Results refused because another node holds the delivery by now.
    pub(crate) leases_lost: Counter,
    /// Runs of jobs made by their schedules.
    pub(crate) ticks: Family<TickLabels, Counter>,
    /// Instants of schedules that nobody was there for.
    pub(crate) ticks_missed: Counter,
    /// Runs of jobs, by how they ended on this node.
    pub(crate) runs: Family<RunLabels, Counter>,
}

impl Metrics {
    /// Registers everything at zero; `durability` says what a commit waits for.
    pub(crate) fn new(durability: String) -> Self {
        let mut registry = Registry::with_prefix("engate");
        registry.register("store", "What a commit waits for", Info::new(vec![("durability", durability)]));
        let attempt_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 18));
        let first_attempt_delay_seconds = Histogram::new(exponential_buckets(0.000_5, 2.0, 20));
        let metrics = Self {
            events_accepted: Counter::default(),
            events_duplicate: Counter::default(),
            attempts: Family::default(),
            attempt_seconds,
            first_attempt_delay_seconds,
            plugin_faults: Family::default(),
            sync_lag: Family::default(),
            queued: Gauge::default(),
            in_flight: Gauge::default(),
            access_entries_lost: Gauge::default(),
            texts_lag: Gauge::default(),
            history_purged: Family::default(),
            recovered: Family::default(),
            calls: Family::default(),
            inbound_calls: Family::default(),
            leases_lost: Counter::default(),
            ticks: Family::default(),
            ticks_missed: Counter::default(),
            runs: Family::default(),
            registry: Registry::default(),
        };
        registry.register("events_accepted", "Events taken", metrics.events_accepted.clone());
        registry.register("events_duplicate", "Repeats recognised by their id", metrics.events_duplicate.clone());
        registry.register("attempts", "Tries by how they ended", metrics.attempts.clone());
        registry.register("attempt_seconds", "From the start of a try to its verdict", metrics.attempt_seconds.clone());
        registry.register(
            "first_attempt_delay_seconds",
            "From acceptance to the start of the first try",
            metrics.first_attempt_delay_seconds.clone(),
        );
        registry.register("plugin_faults", "Plugin faults by code", metrics.plugin_faults.clone());
        registry.register("queued_deliveries", "Deliveries held in memory", metrics.queued.clone());
        registry.register(
            "sync_lag_seconds",
            "How old the newest state is that a stream's target has for sure",
            metrics.sync_lag.clone(),
        );
        registry.register("in_flight_requests", "Requests under way", metrics.in_flight.clone());
        registry.register(
            "access_entries_lost",
            "Calls that were not recorded, because the database took nothing for too long",
            metrics.access_entries_lost.clone(),
        );
        registry.register(
            "text_index_lag_deliveries",
            "Deliveries that the index behind free search and orders by text does not have yet",
            metrics.texts_lag.clone(),
        );
        registry.register(
            "history_purged",
            "Rows forgotten because they are old, by kind",
            metrics.history_purged.clone(),
        );
        registry.register(
            "recovery_deliveries",
            "Deliveries that recoveries went through, by what became of each",
            metrics.recovered.clone(),
        );
        registry.register("api_calls", "API calls", metrics.calls.clone());
        registry.register(
            "inbound_calls",
            "Partners' calls at inbounds by how they ended",
            metrics.inbound_calls.clone(),
        );
        registry.register("leases_lost", "Results refused because the lease was lost", metrics.leases_lost.clone());
        registry.register("job_ticks", "Runs made by schedules", metrics.ticks.clone());
        let missed = "Instants of schedules that nobody was there for";
        registry.register("job_ticks_missed", missed, metrics.ticks_missed.clone());
        registry.register("job_runs", "Runs of jobs by how they ended", metrics.runs.clone());
        Self { registry, ..metrics }
    }

    /// All of it in Prometheus' text form.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts a run that a schedule made.
    pub(crate) fn run_made(&self, state: RunState) {
        self.ticks.get_or_create(&TickLabels { state: state.as_str() }).inc();
    }

    /// Counts a run that ended here.
    pub(crate) fn run_ended(&self, kind: &'static str, state: RunState) {
        self.runs.get_or_create(&RunLabels { kind, state: state.as_str() }).inc();
    }

    /// Counts one finished try.
    pub(crate) fn attempt(&self, outcome: &'static str, took: Duration) {
        self.attempts.get_or_create(&AttemptLabels { outcome }).inc();
        self.attempt_seconds.observe(took.as_secs_f64());
    }
}
