//! The rim: the clock is read here alone.

use schema::Micros;
use time::OffsetDateTime;

/// Now: a delivery's receipt, and what ages are counted to.
#[expect(
    clippy::disallowed_methods,
    reason = "the rim: deliveries take their receipt from here, once"
)]
pub(crate) fn now() -> Micros {
    Micros::from(OffsetDateTime::now_utc())
}
