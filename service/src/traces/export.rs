//! One POST for many spans: OTLP over HTTP, as protobuf.

use std::{
    error::Error as _,
    fmt::Write as _,
    future::{Future, ready},
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use prost::Message as _;
use reqwest::{
    StatusCode, Url,
    blocking::{Client, Response},
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};

use super::{
    TracesError,
    queue::{Queue, count},
};

/// How long the collector may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long it is tried to send spans to a collector that is away or busy; others wait meanwhile.
const TRY_FOR: Duration = Duration::from_secs(10);

/// How long to wait before another try.
const PAUSE: Duration = Duration::from_millis(500);

/// What is read of an answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Sends spans to a collector. Called by the thread of the SDK's processor alone.
#[derive(Debug)]
pub(super) struct Exporter {
    client: Client,
    endpoint: Url,
    resource: ResourceAttributesWithSchema,
    queue: Arc<Queue>,
    /// Whether it was said that spans do not arrive.
    is_failure_told: AtomicBool,
}

/// Why spans did not arrive.
struct NotSent {
    why: String,
    may_pass: bool,
}

impl Exporter {
    /// `headers` are sent along.
    pub(super) fn new(endpoint: Url, mut headers: HeaderMap, queue: Arc<Queue>) -> Result<Self, TracesError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let build = move || {
            Client::builder()
                .timeout(ANSWER_WITHIN)
                .connect_timeout(ANSWER_WITHIN)
                .default_headers(headers)
                .user_agent(concat!("fleetlog/", env!("CARGO_PKG_VERSION")))
                // What is sent along is for this collector alone.
                .redirect(redirect::Policy::none())
                .build()
        };
        // A client that blocks is not made where something asynchronous runs.
        let client = thread::spawn(build).join().map_err(|_| TracesError::Thread)?;
        Ok(Self {
            client: client.map_err(TracesError::Client)?,
            endpoint,
            resource: ResourceAttributesWithSchema::default(),
            queue,
            is_failure_told: AtomicBool::new(false),
        })
    }

    /// Sends spans, or gives them up.
    fn send(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let n_spans = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let outcome = self.post_until_settled(&request.encode_to_vec());
        self.queue.left(n_spans);
        match outcome {
            Ok(n_rejected) => {
                let n_rejected = n_rejected.min(n_spans);
                count("exported", n_spans - n_rejected);
                count("rejected", n_rejected);
                if self.is_failure_told.swap(false, Ordering::Relaxed) {
                    tracing::info!("spans arrive at the collector again");
                }
                Ok(())
            }
            Err(NotSent { why, .. }) => {
                count("failed", n_spans);
                if !self.is_failure_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        why,
                        "spans do not arrive at the collector and are dropped; nothing else is affected: {why}"
                    );
                }
                Err(OTelSdkError::InternalFailure(why))
            }
        }
    }

    fn post_until_settled(&self, body: &[u8]) -> Result<usize, NotSent> {
        let begun = Instant::now();
        loop {
            match self.post(body.to_vec()) {
                Err(NotSent { may_pass: true, .. })
                    if begun.elapsed() + PAUSE < TRY_FOR && !self.queue.is_stopping() =>
                {
                    thread::sleep(PAUSE);
                }
                settled => return settled,
            }
        }
    }

    /// How many of the spans the collector rejected.
    fn post(&self, body: Vec<u8>) -> Result<usize, NotSent> {
        let answer = self.client.post(self.endpoint.clone()).body(body).send();
        let answer = answer.map_err(|error| NotSent {
            why: explain(error),
            may_pass: true,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(n_rejected(answer));
        }
        Err(NotSent {
            why: format!("it answered {status}"),
            may_pass: [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ]
            .contains(&status),
        })
    }
}

fn n_rejected(answer: Response) -> usize {
    let mut body = Vec::new();
    let read = answer.take(MAX_ANSWER).read_to_end(&mut body);
    let told = read
        .ok()
        .and_then(|_| ExportTraceServiceResponse::decode(body.as_slice()).ok());
    let rejected = told
        .and_then(|told| told.partial_success)
        .map_or(0, |partial| partial.rejected_spans);
    usize::try_from(rejected).unwrap_or(0)
}

/// The error with its causes, and without the URL, which may hold a secret.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a String takes everything");
        cause = error.source();
    }
    text
}

impl SpanExporter for Exporter {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        // It blocks, and may: the thread has nothing else to do.
        ready(self.send(batch))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}
