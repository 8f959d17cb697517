//! The one place where this crate reads the clock.

use schema::Micros;
use time::OffsetDateTime;

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "the rim: everything else takes the time as an argument"
)]
pub(crate) fn now() -> Micros {
    OffsetDateTime::now_utc().into()
}
