//! Instants, in microseconds, and what may be believed of a claimed one.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// An instant in microseconds since 1970-01-01T00:00:00Z, which is what Postgres keeps.
///
/// Written as RFC 3339 in UTC with six decimals, so that texts sort as instants do. Years 1 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Micros(i64);

/// Why a text or number is no instant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an instant is an RFC 3339 date and time between the years 1 and 9999; got {0:?}")]
pub struct InvalidInstant(String);

/// 0001-01-01T00:00:00Z.
const MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const MAX: i64 = 253_402_300_799_999_999;

impl Micros {
    /// The earliest instant there is.
    pub const MIN: Self = Self(MIN);
    /// The last instant there is.
    pub const MAX: Self = Self(MAX);

    /// The instant so many microseconds after 1970; refused outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Result<Self, InvalidInstant> {
        if (MIN..=MAX).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(InvalidInstant(micros.to_string()))
        }
    }

    /// The instant given as whole seconds and nanoseconds, as protobuf timestamps are. Finer parts than a
    /// microsecond are cut, towards the past.
    pub fn from_seconds_nanos(seconds: i64, nanos: i64) -> Result<Self, InvalidInstant> {
        let micros = i128::from(seconds) * 1_000_000 + i128::from(nanos.div_euclid(1_000));
        i64::try_from(micros)
            .map_err(|_| InvalidInstant(seconds.to_string()))
            .and_then(Self::from_micros)
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The calendar form. Exact: nothing is finer than a microsecond.
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// The day in UTC, as days since 1970-01-01.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// This much later, or the last instant there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(MAX))
    }

    /// This much earlier, or the first instant there is.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(MIN))
    }
}

impl From<OffsetDateTime> for Micros {
    /// Finer parts than a microsecond are cut, towards the past.
    fn from(at: OffsetDateTime) -> Self {
        let micros = at.unix_timestamp_nanos().div_euclid(1_000);
        Self(i64::try_from(micros).unwrap_or(MAX).clamp(MIN, MAX))
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.to_datetime();
        // Digit by digit: every event is written with several of these.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let numbers = [
            (0..4, at.year().unsigned_abs()),
            (5..7, u32::from(u8::from(at.month()))),
            (8..10, u32::from(at.day())),
            (11..13, u32::from(at.hour())),
            (14..16, u32::from(at.minute())),
            (17..19, u32::from(at.second())),
            (20..26, at.microsecond()),
        ];
        for (place, mut number) in numbers {
            for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
                *digit += u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Micros {
    type Err = InvalidInstant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidInstant(text.chars().take(80).collect());
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| invalid())?;
        let at = at.checked_to_offset(UtcOffset::UTC).ok_or_else(invalid)?;
        if (1..=9999).contains(&at.year()) {
            Ok(Self::from(at))
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for Micros {
    type Error = InvalidInstant;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Micros> for String {
    fn from(at: Micros) -> Self {
        at.to_string()
    }
}

/// A claimed instant later than the receipt by more than this is not believed.
pub const BELIEVED_AHEAD: Duration = Duration::from_mins(1);
/// A device's claim about itself older than this is not believed: its clock was never set.
pub const BELIEVED_BEHIND: Duration = Duration::from_hours(365 * 24);

/// Whose word an instant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimant {
    /// The device itself, inside a reading or log, or the envelope of such a delivery.
    Device,
    /// The provider about the past: a last report, a session's start, a firmware report, backfill.
    Provider,
}

/// When an event happened, as far as that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The `at` of the order key.
    pub at: Micros,
    /// The claim, where it was not believed.
    pub disbelieved: Option<Micros>,
}

/// Decides between a claimed instant and the receipt.
///
/// Nobody is believed beyond the receipt + 60 s. A device is believed back to one year; a provider that speaks of
/// the past at any age, since an old report must stay old.
pub fn believe(claimed: Option<Micros>, claimant: Claimant, received: Micros) -> Timing {
    let Some(claim) = claimed else {
        return Timing {
            at: received,
            disbelieved: None,
        };
    };
    let too_late = claim > received.plus(BELIEVED_AHEAD);
    let too_early = claimant == Claimant::Device && claim < received.minus(BELIEVED_BEHIND);
    if too_late || too_early {
        Timing {
            at: received,
            disbelieved: Some(claim),
        }
    } else {
        Timing {
            at: claim,
            disbelieved: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Micros {
        text.parse().expect("a valid instant")
    }

    #[test]
    fn instants_read_back_and_sort_as_text() {
        let early = instant("2026-01-02T03:04:05.678901Z");
        assert_eq!(early.to_string(), "2026-01-02T03:04:05.678901Z");
        assert_eq!(instant("2026-01-02T05:04:05.678901999+02:00"), early);
        assert!(instant("2026-01-02T03:04:05Z").to_string() < early.to_string());
        assert!("yesterday".parse::<Micros>().is_err());
        assert!(Micros::from_micros(i64::MAX).is_err());
    }

    #[test]
    fn nobody_is_believed_about_the_future_and_a_device_not_about_the_far_past() {
        let received = instant("2026-06-01T00:00:00Z");
        let at = |claim: &str, by| believe(Some(instant(claim)), by, received).at;
        assert_eq!(
            at("2026-06-01T00:01:00Z", Claimant::Device),
            instant("2026-06-01T00:01:00Z")
        );
        assert_eq!(at("2026-06-01T00:01:00.000001Z", Claimant::Provider), received);
        assert_eq!(at("1970-01-01T00:00:00Z", Claimant::Device), received);
        assert_eq!(
            at("2025-04-01T00:00:00Z", Claimant::Provider),
            instant("2025-04-01T00:00:00Z")
        );
        assert_eq!(believe(None, Claimant::Device, received).at, received);
    }
}
