//! Spans of what a role does, sent to a collector over OTLP where one is configured.
//!
//! A role asks [`Traces`] for a [`Span`] where something begins, and gets none where nobody wants any: then nothing is
//! allocated, started or waited for. What is sent waits in a bounded queue that a thread of the SDK's empties; whoever
//! makes a span never waits for the collector. What does not arrive is counted, and said once.
//!
//! - [`TraceParent`]: how a trace is carried on, from a caller to an event and from there to whoever reads it
//! - [`Sampling`]: which traces are told
//! - `export`: one POST for many spans
//! - `queue`: how many may wait

mod export;
mod parent;
mod queue;
mod sampling;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

pub use opentelemetry::trace::SpanKind;
pub use reqwest::{Url, header::HeaderMap};

pub use parent::TraceParent;
pub use sampling::{InvalidSampling, Sampling};

use export::Exporter;
use queue::Queue;

/// How long spans that are left may take to be sent when a role stops.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Links of one span.
const MAX_LINKS: u32 = 128;

/// Where spans go, and which.
pub struct Settings {
    /// Where batches of spans are posted to, in full.
    pub endpoint: Url,
    /// Sent along, e.g. a token. Mark values sensitive that are.
    pub headers: HeaderMap,
    /// What the process is called; none: as the environment's resource attributes say, else by its role.
    pub service_name: Option<String>,
    /// Which traces are told.
    pub sampling: Sampling,
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The HTTP client cannot be made.
    #[error("spans cannot be sent: {0}")]
    Client(#[source] reqwest::Error),
    /// No thread can be started.
    #[error("spans cannot be sent: no thread can be started")]
    Thread,
}

/// Where a role's spans go, if anybody wants them.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Running>>);

struct Running {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    queue: Arc<Queue>,
}

impl Traces {
    /// Nobody wants spans.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Sends the spans of a role there, from now until [`stop`](Self::stop).
    pub fn to(role: &str, settings: Settings) -> Result<Self, TracesError> {
        let queue = Arc::new(Queue::default());
        let exporter = Exporter::new(settings.endpoint, settings.headers, queue.clone())?;
        let provider = SdkTracerProvider::builder()
            .with_sampler(settings.sampling.sampler())
            .with_max_links_per_span(MAX_LINKS)
            .with_resource(resource(role, settings.service_name))
            .with_span_processor(queue::Bounded::new(exporter, queue.clone()))
            .build();
        let tracer = provider.tracer("fleetlog");
        Ok(Self(Some(Arc::new(Running {
            tracer,
            provider,
            queue,
        }))))
    }

    /// Whether anybody wants spans. Which of them is another question.
    pub fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span, as a child of `parent` if there is one. None if nobody wants spans.
    ///
    /// A span that is not sampled is one all the same: what follows from it has to know that it is not.
    pub fn begin(
        &self,
        name: &'static str,
        kind: SpanKind,
        parent: Option<&TraceParent>,
        begun: Instant,
    ) -> Option<Span> {
        let running = self.0.as_ref()?;
        let context = match parent {
            Some(TraceParent(parent)) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        let now = opentelemetry::time::now();
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(now.checked_sub(begun.elapsed()).unwrap_or(now));
        Some(Span(running.tracer.build_with_context(builder, &context)))
    }

    /// Sends what is left, for two seconds at most, and takes nothing more.
    pub async fn stop(&self) {
        let Some(running) = self.0.clone() else { return };
        running.queue.stop();
        let flushed = tokio::task::spawn_blocking(move || {
            // That time is up, or that nothing could be sent, shows in what is left.
            drop(running.provider.shutdown_with_timeout(FLUSH_WITHIN));
            running.queue.n_waiting()
        });
        match flushed.await {
            Ok(0) | Err(_) => {}
            Ok(n_left) => tracing::warn!(n_left, "{n_left} spans could not be sent within {FLUSH_WITHIN:?}"),
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_wanted() {
            "Traces(on)"
        } else {
            "Traces(off)"
        })
    }
}

/// Who the spans are of: the process, as its environment describes it (`OTEL_RESOURCE_ATTRIBUTES`), and our version.
fn resource(role: &str, service_name: Option<String>) -> Resource {
    let named = Resource::builder().build();
    let is_named = named
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    match service_name {
        Some(name) => resource.with_service_name(name).build(),
        None if is_named => resource.build(),
        None => resource.with_service_name(format!("fleetlog-{role}")).build(),
    }
}

/// Something that a role does, from its begin until this is dropped.
#[derive(Debug)]
pub struct Span(SdkSpan);

impl Span {
    /// What carries the trace on.
    pub fn traceparent(&self) -> TraceParent {
        TraceParent(self.0.span_context().clone())
    }

    /// Whether it is sampled: else nothing of it is kept, and saying more of it is in vain.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// Says something of it. Never a secret, and nothing of a body.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(name, value));
    }

    /// Says that it failed, and why, under a stable name.
    pub fn fail(&mut self, reason: &'static str) {
        self.set("error.type", reason);
        self.0.set_status(Status::error(reason));
    }

    /// Names another span that it has to do with.
    pub fn link(&mut self, to: &TraceParent) {
        self.0.add_link(to.0.clone(), Vec::new());
    }
}

#[cfg(test)]
mod tests;
