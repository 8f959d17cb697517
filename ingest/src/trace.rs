//! W3C trace context: the sender's if it is well-formed, else a new one.

use actix_web::http::header::HeaderMap;

/// The `traceparent` of a delivery.
pub(crate) fn traceparent(headers: &HeaderMap) -> String {
    let sent = ["traceparent", "ce-traceparent"]
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find(|text| is_well_formed(text));
    sent.map_or_else(new, str::to_owned)
}

fn new() -> String {
    // From the thread's own generator: asking the kernel would be a system call for each delivery. Neither id may be
    // all zero.
    let (trace, span) = (rand::random::<u128>() | 1, rand::random::<u64>() | 1);
    format!("00-{trace:032x}-{span:016x}-00")
}

/// Version 00: `00-<32 hexadecimal digits>-<16>-<2>` in lower case, neither id all zero.
fn is_well_formed(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut is_hex = |length: usize| {
        parts.next().is_some_and(|part| {
            let digits = part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            digits && part.len() == length && (length == 2 || part.bytes().any(|byte| byte != b'0'))
        })
    };
    text.starts_with("00-") && is_hex(2) && is_hex(32) && is_hex(16) && is_hex(2) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false)]
    #[case("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false)]
    #[case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", false)]
    #[case("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false)]
    #[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false)]
    #[case("", false)]
    fn only_a_well_formed_context_is_taken_over(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(is_well_formed(text), accepted);
    }

    #[test]
    fn a_new_context_is_well_formed_and_new() {
        let one = traceparent(&HeaderMap::new());
        assert!(is_well_formed(&one), "{one}");
        assert_ne!(one, traceparent(&HeaderMap::new()));
    }
}
