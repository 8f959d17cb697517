//! Which dead letters are meant.

use std::{str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use schema::{IntegrationId, Micros, OrganizationId};

use super::letters::{Kind, Letter};

/// Which dead letters.
#[derive(Args, Clone)]
pub(super) struct Filters {
    /// Only deliveries, or only events
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<KindName>,
    /// Only those with this reason; may be repeated
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only those of this integration
    #[arg(long, value_name = "ID")]
    integration: Option<IntegrationId>,
    /// Only those of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Only those received then or later: a time (RFC 3339), or how long ago, e.g. 2h
    #[arg(long, value_name = "FROM")]
    since: Option<Moment>,
    /// Only those received before: a time (RFC 3339), or how long ago
    #[arg(long, value_name = "TO")]
    until: Option<Moment>,
    /// Only those received longer ago than this, e.g. 7d
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

/// A kind of dead letter, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindName {
    /// Deliveries of which no event could be made
    Delivery,
    /// Events that could not be folded
    Event,
}

/// A time, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At(Micros),
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self::At)
            .or_else(|_| humantime::parse_duration(text).map(Self::Ago))
            .map_err(|_| "it is a time like 2026-01-31T12:00:00Z, or how long ago, like 2h".to_owned())
    }
}

impl Moment {
    fn as_of(self, now: Micros) -> Micros {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.minus(ago),
        }
    }
}

impl Filters {
    /// Whether any is given.
    pub(super) fn any(&self) -> bool {
        self.kind.is_some()
            || !self.reason.is_empty()
            || self.integration.is_some()
            || self.organization.is_some()
            || self.since.is_some()
            || self.until.is_some()
            || self.older_than.is_some()
    }

    /// Whether deliveries may be meant.
    pub(super) fn want_deliveries(&self) -> bool {
        self.kind != Some(KindName::Event)
    }

    /// Whether events may be meant.
    pub(super) fn want_events(&self) -> bool {
        self.kind != Some(KindName::Delivery)
    }

    /// Whether a letter is meant, now.
    pub(super) fn want(&self, letter: &Letter, now: Micros) -> bool {
        let of_kind = match letter.kind {
            Kind::Delivery => self.want_deliveries(),
            Kind::Event => self.want_events(),
        };
        let of_reason = self.reason.is_empty() || self.reason.contains(&letter.reason);
        let received = letter.received_at;
        of_kind
            && of_reason
            && self
                .integration
                .is_none_or(|wanted| letter.integration == Some(wanted))
            && self
                .organization
                .is_none_or(|wanted| letter.organization == Some(wanted))
            && self.since.is_none_or(|since| received >= since.as_of(now))
            && self.until.is_none_or(|until| received < until.as_of(now))
            && self.older_than.is_none_or(|age| received < now.minus(age))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use uuid::Uuid;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filters: Filters,
    }

    fn letter() -> Letter {
        Letter {
            organization: Some(OrganizationId(Uuid::from_u128(1))),
            integration: Some(IntegrationId(Uuid::from_u128(2))),
            received_at: "2026-01-02T12:00:00Z".parse().unwrap(),
            ..Letter::example()
        }
    }

    #[track_caller]
    fn check(arguments: &str, wanted: bool) {
        let now: Micros = "2026-01-02T14:00:00Z".parse().unwrap();
        let words = std::iter::once("line").chain(arguments.split_whitespace());
        let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(line.filters.want(&letter(), now), wanted, "{arguments}");
        assert_eq!(line.filters.any(), !arguments.is_empty());
    }

    #[test]
    fn each_filter_leaves_out_what_it_says() {
        check("", true);
        check("--kind delivery", true);
        check("--kind event", false);
        check("--reason other --reason unknown_type", true);
        check("--reason other", false);
        check("--integration 00000000-0000-0000-0000-000000000002", true);
        check("--integration 00000000-0000-0000-0000-000000000003", false);
        check("--organization 00000000-0000-0000-0000-000000000003", false);
        check("--since 3h", true);
        check("--since 1h", false);
        check("--since 2026-01-02T12:00:00Z --until 2026-01-02T12:00:01Z", true);
        check("--until 2026-01-02T12:00:00Z", false);
        check("--until 1h", true);
        check("--older-than 1h", true);
        check("--older-than 3h", false);
    }
}
