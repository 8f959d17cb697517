//! How many spans may wait to be sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span as SdkSpan, SpanData, SpanExporter, SpanProcessor},
};

use crate::metrics::TRACES_SPANS;

/// Spans that wait or are being sent: a few megabytes at most.
pub(super) const MAX_WAITING: usize = 2_048;

/// Spans of one request.
const MAX_BATCH: usize = 512;

/// How long a span waits for others.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// What waits to be sent, counted by whoever adds and whoever has sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    n_waiting: AtomicUsize,
    /// Whether it was said that more spans are made than are sent.
    is_full_told: AtomicBool,
    is_stopping: AtomicBool,
}

impl Queue {
    /// Spans that are neither sent nor given up.
    pub(super) fn n_waiting(&self) -> usize {
        self.n_waiting.load(Ordering::Relaxed)
    }

    /// Nothing is tried again from now on.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Takes a place, if there is one.
    fn enter(&self) -> bool {
        let is_in = self.n_waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING;
        if !is_in {
            self.left(1);
            count("queue_full", 1);
            if !self.is_full_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "more spans are made than are sent, and those beyond {MAX_WAITING} are dropped: tell of fewer \
                     traces (OTEL_TRACES_SAMPLER=parentbased_traceidratio), or see what the collector waits for"
                );
            }
        }
        is_in
    }

    /// Gives places back.
    pub(super) fn left(&self, n: usize) {
        self.n_waiting.fetch_sub(n, Ordering::Relaxed);
    }
}

/// Counts spans by what became of them.
pub(super) fn count(outcome: &'static str, n: usize) {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    metrics::counter!(TRACES_SPANS, "outcome" => outcome).increment(n);
}

/// The SDK's processor, which sends batches from a thread of its own, with a queue that counts what it drops.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: BatchSpanProcessor,
    queue: Arc<Queue>,
}

impl Bounded {
    pub(super) fn new(exporter: impl SpanExporter + 'static, queue: Arc<Queue>) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(MAX_DELAY)
            .build();
        let inner = BatchSpanProcessor::new(exporter, config);
        Self { inner, queue }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
