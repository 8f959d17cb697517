//! From a proven delivery to what is appended. Every byte of it ends in an event or in a dead letter.

use std::borrow::Cow;

use actix_web::http::header::CONTENT_ENCODING;
use schema::{DeadLetter, Event};

use crate::{
    dead_letters,
    delivery::{Trust, Verified},
    dialect::{Dialect, Heard, Reader, Unread, UnreadReason},
    error::Rejection,
    payload::{UnpackError, is_gzip, unpack},
    stamp::stamp,
};

/// What a delivery comes to.
#[derive(Debug)]
pub(crate) struct Normalized {
    /// In which words it was said.
    pub(crate) dialect: Option<Dialect>,
    /// What is understood.
    pub(crate) events: Vec<Event>,
    /// Which of them, by their places, have a random id.
    pub(crate) random: Vec<usize>,
    /// What is not.
    pub(crate) letters: Vec<DeadLetter>,
    /// How many bytes came out of a packed body; 0 if it was not packed.
    pub(crate) n_bytes_unpacked: usize,
}

/// Normalizes a delivery whose unpacked body may have `limit` bytes.
pub(crate) fn normalize(delivery: &Verified<'_>, limit: usize) -> Result<Normalized, Rejection> {
    let body = match unpacked(delivery, limit) {
        Ok(body) => body,
        Err(UnpackError::TooLarge) => return Err(Rejection::UnpackedTooLarge { limit }),
        Err(UnpackError::Malformed) => {
            let unread = Unread::whole(UnreadReason::MalformedGzip, "the body cannot be unpacked");
            return finish(delivery, Reader::read_nothing(delivery, unread)?);
        }
    };
    let n_bytes_unpacked = if let Cow::Owned(unpacked) = &body {
        unpacked.len()
    } else {
        0
    };
    let normalized = finish(delivery, Reader::read(delivery, &body)?)?;
    Ok(Normalized {
        n_bytes_unpacked,
        ..normalized
    })
}

fn finish(delivery: &Verified<'_>, heard: Heard) -> Result<Normalized, Rejection> {
    let Heard {
        dialect,
        statements,
        unread,
    } = heard;
    let (events, random) = stamp(delivery, statements)?;
    Ok(Normalized {
        dialect,
        events,
        random,
        letters: unread
            .into_iter()
            .map(|unread| dead_letters::letter(delivery, unread))
            .collect(),
        n_bytes_unpacked: 0,
    })
}

/// The body as it was before it was packed. Under a signature over the body the bytes say whether it was.
fn unpacked<'d>(delivery: &'d Verified<'_>, limit: usize) -> Result<Cow<'d, [u8]>, UnpackError> {
    let body = delivery.body();
    let is_packed = match delivery.trust() {
        Trust::Request => delivery
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip")),
        Trust::Body { .. } => is_gzip(body),
    };
    if is_packed {
        unpack(body, limit).map(Cow::Owned)
    } else {
        Ok(Cow::Borrowed(body))
    }
}
