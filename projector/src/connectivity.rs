//! Whether a device is online: the rule in Rust, for whoever has the registers at hand. Readers of Postgres get the
//! same answer from `fleet.connectivity_of`; both are held to the same table of cases.
//!
//! A pure function of evidence, policy and a moment. Nothing of it is stored: the answer changes by itself as time
//! passes.

use std::time::Duration;

use schema::{Evidence, Micros};

/// When something happened: instant, then the sequence of its event. The event's id is left out on purpose: what it
/// would decide is chance.
pub type When = (Micros, i64);

/// What a sign of life was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Sign {
    /// A reading.
    Reading,
    /// A log entry.
    Log,
    /// A state that the device holds.
    State,
    /// A firmware report.
    Firmware,
    /// The provider's own word on the last report.
    Provider,
    /// The begin of a session.
    Connect,
}

/// The newest sign of life. A disconnect is none, nor is a change of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// What it was.
    pub sign: Sign,
    /// When it happened.
    pub when: When,
    /// How it is known.
    pub basis: Evidence,
}

/// The newest connect or disconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it happened.
    pub when: When,
    /// Of which session; one that is missing or empty matches any.
    pub session: Option<String>,
    /// How it is known.
    pub basis: Evidence,
}

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The newest sign of life, which a connect may be.
    pub life: Option<Life>,
    /// The newest connect.
    pub connected: Option<Change>,
    /// The newest disconnect.
    pub disconnected: Option<Change>,
    /// Until when the integration was listening: its newest push, or the start of its last complete scan.
    pub listened_until: Option<Micros>,
}

/// How long an integration's devices may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long after a sign of life a device counts as online.
    pub online_interval: Duration,
    /// How long after a sign of life a silent device counts as offline. Not less than the interval.
    pub offline_timeout: Duration,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Connectivity {
    /// No sign of life is known.
    NeverSeen,
    /// Heard within the interval.
    Online,
    /// Silent beyond the interval, within the timeout.
    Late,
    /// A disconnect was reported, or it was silent beyond the timeout while we listened.
    Offline,
    /// Silent beyond the timeout, and nobody is known to have listened.
    Unknown,
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grounds {
    /// A sign of life, or that none followed it.
    Life(Sign, Micros),
    /// A disconnect.
    Disconnect(Micros),
}

/// An answer, what it rests on, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub connectivity: Connectivity,
    /// Reported, observed or inferred.
    pub basis: Evidence,
    /// Nothing if the device was never seen.
    pub grounds: Option<Grounds>,
}

/// Whether a device is online as of a moment; the first rule that matches counts.
pub fn connectivity_of(as_of: Micros, known: &Known, policy: Policy) -> Verdict {
    let Some(life) = &known.life else {
        return Verdict {
            connectivity: Connectivity::NeverSeen,
            basis: Evidence::Inferred,
            grounds: None,
        };
    };
    if let Some(disconnected) = ended(life, known) {
        return Verdict {
            connectivity: Connectivity::Offline,
            basis: disconnected.basis.clone(),
            grounds: Some(Grounds::Disconnect(disconnected.when.0)),
        };
    }
    let (seen_at, _) = life.when;
    let beyond = |until: Micros, limit: Duration| after(seen_at, until) > micros(limit);
    let (connectivity, basis) = if !beyond(as_of, policy.online_interval) {
        (Connectivity::Online, life.basis.clone())
    } else if !beyond(as_of, policy.offline_timeout) {
        (Connectivity::Late, Evidence::Inferred)
    } else if known
        .listened_until
        .is_some_and(|until| beyond(until, policy.offline_timeout))
    {
        (Connectivity::Offline, Evidence::Inferred)
    } else {
        (Connectivity::Unknown, Evidence::Inferred)
    };
    Verdict {
        connectivity,
        basis,
        grounds: Some(Grounds::Life(life.sign, seen_at)),
    }
}

/// The newest disconnect, if it ended the newest session and nothing was heard after it. It wins a tie.
fn ended<'a>(life: &Life, known: &'a Known) -> Option<&'a Change> {
    let disconnected = known.disconnected.as_ref()?;
    let session = |change: &'a Change| change.session.as_deref().filter(|session| !session.is_empty());
    let ends_session = known.connected.as_ref().is_none_or(|connected| {
        let same = session(disconnected)
            .zip(session(connected))
            .is_none_or(|(one, other)| one == other);
        disconnected.when >= connected.when && same
    });
    (disconnected.when >= life.when && ends_session).then_some(disconnected)
}

/// How long after the first instant the second is, in microseconds; negative before it.
fn after(first: Micros, second: Micros) -> i128 {
    i128::from(second.as_micros()) - i128::from(first.as_micros())
}

fn micros(duration: Duration) -> i128 {
    i128::try_from(duration.as_micros()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const POLICY: Policy = Policy {
        online_interval: Duration::from_mins(10),
        offline_timeout: Duration::from_hours(1),
    };

    fn at(seconds: i64) -> Micros {
        Micros::from_micros(seconds * 1_000_000).expect("within range")
    }

    fn heard(seconds: i64) -> Known {
        let life = Life {
            sign: Sign::Reading,
            when: (at(seconds), 0),
            basis: Evidence::Observed,
        };
        Known {
            life: Some(life),
            ..Known::default()
        }
    }

    fn change(seconds: i64, session: &str) -> Change {
        Change {
            when: (at(seconds), 0),
            session: Some(session.to_owned()),
            basis: Evidence::Reported,
        }
    }

    fn session(connected: (i64, &str), disconnected: (i64, &str)) -> Known {
        let life = Life {
            sign: Sign::Connect,
            when: (at(connected.0), 0),
            basis: Evidence::Reported,
        };
        Known {
            life: Some(life),
            connected: Some(change(connected.0, connected.1)),
            disconnected: Some(change(disconnected.0, disconnected.1)),
            listened_until: None,
        }
    }

    #[rstest]
    #[case::now(0, "online")]
    #[case::ahead_of_our_clock(-30, "online")]
    #[case::at_the_interval(600, "online")]
    #[case::beyond_the_interval(601, "late")]
    #[case::at_the_timeout(3600, "late")]
    #[case::beyond_the_timeout(3601, "unknown")]
    fn silence_makes_late_then_unknown(#[case] silent: i64, #[case] expected: &str) {
        let verdict = connectivity_of(at(1_000_000 + silent), &heard(1_000_000), POLICY);
        assert_eq!(<&str>::from(verdict.connectivity), expected);
    }

    #[rstest]
    #[case::nobody_listened(None, Connectivity::Unknown)]
    #[case::listened_up_to_the_timeout(Some(4600), Connectivity::Unknown)]
    #[case::listened_beyond_it(Some(4601), Connectivity::Offline)]
    fn silence_is_offline_only_if_someone_listened(
        #[case] until: Option<i64>,
        #[case] expected: Connectivity,
    ) {
        let known = Known {
            listened_until: until.map(at),
            ..heard(1000)
        };
        let verdict = connectivity_of(at(9000), &known, POLICY);
        assert_eq!(
            (verdict.connectivity, verdict.basis),
            (expected, Evidence::Inferred)
        );
        assert_eq!(verdict.grounds, Some(Grounds::Life(Sign::Reading, at(1000))));
    }

    #[rstest]
    #[case::same_session((100, "a"), (200, "a"), Connectivity::Offline)]
    #[case::tie((100, "a"), (100, "a"), Connectivity::Offline)]
    #[case::disconnect_names_none((100, "a"), (200, ""), Connectivity::Offline)]
    #[case::connect_names_none((100, ""), (200, "a"), Connectivity::Offline)]
    #[case::an_older_sessions_late_disconnect((100, "b"), (200, "a"), Connectivity::Online)]
    #[case::connected_again((200, "a"), (100, "a"), Connectivity::Online)]
    fn a_disconnect_counts_for_its_own_session(
        #[case] connected: (i64, &str),
        #[case] disconnected: (i64, &str),
        #[case] expected: Connectivity,
    ) {
        let verdict = connectivity_of(at(300), &session(connected, disconnected), POLICY);
        assert_eq!(
            (verdict.connectivity, verdict.basis),
            (expected, Evidence::Reported)
        );
    }

    #[test]
    fn a_report_after_the_disconnect_is_life() {
        let disconnected = Some(change(100, ""));
        let known = Known {
            disconnected: disconnected.clone(),
            ..heard(101)
        };
        assert_eq!(
            connectivity_of(at(102), &known, POLICY).connectivity,
            Connectivity::Online
        );
        let known = Known {
            disconnected,
            ..heard(100)
        };
        let verdict = connectivity_of(at(102), &known, POLICY);
        assert_eq!(verdict.connectivity, Connectivity::Offline);
        assert_eq!(verdict.grounds, Some(Grounds::Disconnect(at(100))));
    }

    #[test]
    fn the_sequence_orders_what_happened_in_one_instant() {
        let mut known = session((100, ""), (100, ""));
        known.connected.as_mut().expect("connected").when.1 = 1;
        known.life.as_mut().expect("alive").when.1 = 1;
        assert_eq!(
            connectivity_of(at(101), &known, POLICY).connectivity,
            Connectivity::Online
        );
    }

    #[test]
    fn a_disconnect_alone_is_no_sign_of_life() {
        let known = Known {
            disconnected: Some(change(100, "a")),
            listened_until: Some(at(90_000)),
            ..Known::default()
        };
        let verdict = connectivity_of(at(90_000), &known, POLICY);
        assert_eq!(
            (verdict.connectivity, verdict.grounds),
            (Connectivity::NeverSeen, None)
        );
    }
}
