//! The trace of a delivery: W3C trace context, the sender's if it is well-formed, else a new one; and its span, where
//! somebody wants spans.

use std::time::Instant;

use actix_web::{
    ResponseError as _,
    http::{StatusCode, header::HeaderMap},
};
use schema::IntegrationId;
use service::{
    Traces,
    traces::{Span, SpanKind, TraceParent},
};

use crate::{error::Rejection, kept::Kept, normalize::Normalized};

/// The span of a delivery.
const DELIVER: &str = "fleetlog.deliver";

/// The `traceparent` of a delivery.
pub(crate) fn traceparent(headers: &HeaderMap) -> String {
    sent(headers).map_or_else(new, |(text, _)| text.to_owned())
}

fn sent(headers: &HeaderMap) -> Option<(&str, TraceParent)> {
    ["traceparent", "ce-traceparent"]
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find_map(|text| Some((text, TraceParent::parse(text)?)))
}

fn new() -> String {
    // From the thread's own generator: asking the kernel would be a system call for each delivery. Neither id may be
    // all zero.
    let (trace, span) = (rand::random::<u128>() | 1, rand::random::<u64>() | 1);
    format!("00-{trace:032x}-{span:016x}-00")
}

/// What is told of a delivery, from its head to its answer. Nothing, and for nothing, where nobody wants spans.
pub(crate) struct Told<'t> {
    traces: &'t Traces,
    begun: Instant,
    span: Option<Span>,
}

impl<'t> Told<'t> {
    /// Of a delivery whose head came at `begun`.
    pub(crate) fn of(traces: &'t Traces, begun: Instant) -> Self {
        Self {
            traces,
            begun,
            span: None,
        }
    }

    /// The sender is proven: from here on its trace is the delivery's. A stranger does not decide what is sampled.
    pub(crate) fn follow(&mut self, headers: &HeaderMap) {
        if self.traces.are_wanted() {
            let parent = sent(headers).map(|(_, parent)| parent);
            let begun = self
                .traces
                .begin(DELIVER, SpanKind::Server, parent.as_ref(), self.begun);
            self.span = begun;
        }
    }

    /// What is made of the delivery follows from its span, also where that is not sampled: so whoever reads the event
    /// tells of it, or does not, as is told here.
    pub(crate) fn mark(&mut self, normalized: &mut Normalized) {
        let Some(span) = &mut self.span else { return };
        let traceparent = span.traceparent().to_string();
        for event in &mut normalized.events {
            event.traceparent = Some(traceparent.clone());
        }
        if span.is_recording() {
            span.set("fleetlog.dialect", normalized.dialect.map_or("none", Into::into));
            span.set("fleetlog.events", count(normalized.events.len()));
            span.set("fleetlog.dead_letters", count(normalized.letters.len()));
        }
    }

    /// Ends with the answer.
    pub(crate) fn end(self, answer: &Result<Kept, Rejection>, named: Option<IntegrationId>) {
        let refused = || self.traces.begin(DELIVER, SpanKind::Server, None, self.begun);
        let Some(mut span) = self.span.or_else(refused) else {
            return;
        };
        if !span.is_recording() {
            return;
        }
        span.set("http.request.method", "POST");
        if let Some(integration) = named {
            span.set("fleetlog.integration", integration.to_string());
        }
        let (status, outcome) = match answer {
            Ok(kept) => {
                span.set("fleetlog.spooled", kept.is_spooled());
                (StatusCode::ACCEPTED, "accepted")
            }
            Err(rejection) => (rejection.status_code(), rejection.reason()),
        };
        span.set("http.response.status_code", i64::from(status.as_u16()));
        span.set("fleetlog.outcome", outcome);
        if status.is_server_error() {
            span.fail(outcome);
        }
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use service::traces::{HeaderMap as OtlpHeaders, Sampling, Settings};

    use super::*;
    use crate::example::Sent;

    #[test]
    fn a_senders_context_is_taken_over_if_it_is_well_formed() {
        let mut headers = HeaderMap::new();
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let header = |text: &str| text.parse().expect("a value");
        headers.insert("traceparent".parse().expect("a name"), header("00-1-2-3"));
        assert_ne!(traceparent(&headers), "00-1-2-3");
        headers.insert("ce-traceparent".parse().expect("a name"), header(context));
        assert_eq!(traceparent(&headers), context);
    }

    #[tokio::test]
    async fn events_carry_the_context_of_their_deliverys_span_where_there_is_one() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let sent = Sent::from_golioth("/s", "{}").header("traceparent", context);
        let carried = |traces: &Traces| {
            let mut normalized = sent.normalized().unwrap();
            let mut told = Told::of(traces, Instant::now());
            told.follow(&sent.headers);
            told.mark(&mut normalized);
            normalized.events[0].traceparent.clone().unwrap()
        };
        assert_eq!(carried(&Traces::off()), context);

        let settings = Settings {
            endpoint: "http://127.0.0.1:9/v1/traces".parse().unwrap(),
            headers: OtlpHeaders::new(),
            service_name: None,
            sampling: Sampling::named("always_off", None).unwrap(),
        };
        let traces = Traces::to("ingest", settings).unwrap();
        let unsampled = carried(&traces);
        assert_eq!(unsampled[..36], context[..36]);
        assert!(
            unsampled.ends_with("-00") && unsampled[36..52] != context[36..52],
            "{unsampled}"
        );
        traces.stop().await;
    }

    #[test]
    fn a_new_context_is_well_formed_and_new() {
        let one = traceparent(&HeaderMap::new());
        assert!(
            TraceParent::parse(&one).is_some_and(|parent| !parent.is_sampled()),
            "{one}"
        );
        assert_ne!(one, traceparent(&HeaderMap::new()));
    }
}
