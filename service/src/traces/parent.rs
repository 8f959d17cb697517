//! The context of a trace, as it travels.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// W3C's `traceparent`, version 00: which trace, which span of it is the parent, and whether it is sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceParent(pub(super) SpanContext);

impl TraceParent {
    /// Reads `00-<32 hexadecimal digits>-<16>-<2>` in lower case, neither id all zero. Nothing else is one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("00-")?.split('-');
        let mut hex = |length: usize| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            parts
                .next()
                .filter(|part| part.len() == length && part.bytes().all(is_hex))
        };
        let (trace, span, flags) = (hex(32)?, hex(16)?, hex(2)?);
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
            true,
            TraceState::NONE,
        );
        (parts.next().is_none() && context.is_valid()).then_some(Self(context))
    }

    /// Whether whoever made it tells of this trace.
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (self.0.trace_id(), self.0.span_id());
        write!(f, "00-{trace}-{span}-{:02x}", self.0.trace_flags().to_u8())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false)]
    #[case("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false)]
    #[case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", false)]
    #[case("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false)]
    #[case("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false)]
    #[case("", false)]
    fn only_a_well_formed_context_is_taken_over(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(
            TraceParent::parse(text).map(|parent| parent.to_string()),
            accepted.then(|| text.to_owned())
        );
    }

    #[test]
    fn the_last_bit_says_whether_it_is_sampled() {
        let with = |flags| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let is_sampled = |flags| TraceParent::parse(&with(flags)).map(|parent| parent.is_sampled());
        let all = ["00", "01", "02", "ff"].map(is_sampled);
        assert_eq!(all, [Some(false), Some(true), Some(false), Some(true)]);
    }
}
