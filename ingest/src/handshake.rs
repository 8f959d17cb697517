//! The `CloudEvents` webhook handshake: whoever asks may send, and proves later who that is.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ALLOW, HeaderName},
};

use crate::error::Rejection;

const REQUEST_ORIGIN: &str = "webhook-request-origin";
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Answers the same for any integration, known or not, and never calls back.
pub(crate) fn answer(request: &HttpRequest) -> Result<HttpResponse, Rejection> {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((ALLOW, "POST, OPTIONS"));
    let mut origins = request.headers().get_all(REQUEST_ORIGIN);
    if let Some(origin) = origins.next() {
        let origin = Some(origin).filter(|_| origins.next().is_none());
        let origin = origin
            .and_then(|origin| origin.to_str().ok())
            .filter(|origin| is_dns_name(origin));
        let origin = origin.ok_or(Rejection::MalformedOrigin)?;
        answer.insert_header((ALLOWED_ORIGIN, origin));
        answer.insert_header((ALLOWED_RATE, "*"));
    }
    Ok(answer.finish())
}

/// RFC 1123: labels of 1 to 63 letters, digits and inner hyphens, 253 bytes in all, and no address.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(is_label) && !is_address
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("eventemitter.example.com", true)]
    #[case("localhost", true)]
    #[case("a-b.example", true)]
    #[case("", false)]
    #[case("*", false)]
    #[case("-a.example", false)]
    #[case("a..example", false)]
    #[case("https://example.com", false)]
    #[case("example.com:443", false)]
    #[case("192.0.2.1", false)]
    #[case("exämple.com", false)]
    fn an_origin_is_a_dns_name(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(is_dns_name(text), accepted);
    }

    #[test]
    fn one_origin_asks_and_nobody_speaks_for_another() {
        let asks = |origins: &[&'static str]| {
            let ask = |request: TestRequest, origin: &&'static str| {
                request.append_header((REQUEST_ORIGIN, *origin))
            };
            let request = origins.iter().fold(TestRequest::default(), ask);
            answer(&request.to_http_request()).map(|answer| answer.headers().contains_key(ALLOWED_ORIGIN))
        };
        assert!(asks(&["a.example"]).unwrap());
        assert!(!asks(&[]).unwrap());
        assert_eq!(
            asks(&["a.example", "b.example"]).unwrap_err(),
            Rejection::MalformedOrigin
        );
    }

    #[test]
    fn an_origin_is_bounded() {
        let long = format!("{}.example", "a".repeat(64));
        assert!(!is_dns_name(&long));
        assert!(!is_dns_name(&vec!["abcdefg"; 32].join(".")));
    }
}
