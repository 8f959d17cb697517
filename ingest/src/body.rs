//! Reading a body: bounded in bytes and in time, and counted as it arrives.

use std::time::Duration;

use actix_web::{
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue},
    web::Payload,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use crate::{admission::Admitted, error::Rejection};

/// Refuses what need not be read: a body that is declared too long, or packed in a way that is not unpacked.
pub(crate) fn check_declared(headers: &HeaderMap, limit: usize) -> Result<(), Rejection> {
    let codings = headers.get_all(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let is_supported = |coding: &[u8]| {
        [&b"gzip"[..], b"identity"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    };
    if codings.clone().count() > 1 || !codings.clone().all(is_supported) {
        return Err(Rejection::UnsupportedEncoding);
    }
    if declared_length(headers).is_some_and(|length| length > limit) {
        return Err(Rejection::TooLarge { limit });
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body of at most `limit` bytes, exactly as it came over the wire.
pub(crate) async fn read(
    payload: Payload,
    headers: &HeaderMap,
    admitted: &mut Admitted,
    limit: usize,
    within: Duration,
) -> Result<Bytes, Rejection> {
    let declared = declared_length(headers);
    if declared == Some(0) {
        return Ok(Bytes::new());
    }
    tokio::time::timeout(within, collect(payload, declared, admitted, limit))
        .await
        .unwrap_or(Err(Rejection::BodyTimeout { within }))
}

async fn collect(
    mut payload: Payload,
    declared: Option<usize>,
    admitted: &mut Admitted,
    limit: usize,
) -> Result<Bytes, Rejection> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Rejection::BodyIncomplete)?;
        if body.len() + chunk.len() > limit {
            return Err(Rejection::TooLarge { limit });
        }
        admitted.grow(chunk.len())?;
        // Most bodies come in one piece, which need not be copied.
        if body.is_empty() && declared == Some(chunk.len()) {
            return Ok(chunk);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
