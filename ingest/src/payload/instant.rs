//! Instants as senders write them.

use schema::Micros;
use serde_json::value::RawValue;

use super::Object;

/// Reads an instant: RFC 3339, a number of seconds, milliseconds, microseconds or nanoseconds since 1970 by its
/// magnitude (also as text), or `{"seconds", "nanos"}`.
///
/// Finer parts than a microsecond are cut.
pub(crate) fn instant(value: &RawValue) -> Option<Micros> {
    let text = value.get();
    if let Some(object) = Object::parse(text) {
        let seconds = object.text_or_number(&["seconds"])?.parse().ok()?;
        let nanos = object.text_or_number(&["nanos"]);
        let nanos = nanos.map_or(Some(0), |nanos| nanos.parse().ok())?;
        let in_range = (0..1_000_000_000).contains(&nanos);
        return Micros::from_seconds_nanos(seconds, nanos)
            .ok()
            .filter(|_| in_range);
    }
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).ok()?;
        return text.parse().ok().or_else(|| number(&text));
    }
    number(text)
}

/// From these magnitudes on, a number counts milliseconds, microseconds, nanoseconds: seconds reach beyond the year
/// 5000, milliseconds from 1973 on are larger.
const MILLISECONDS: i128 = 100_000_000_000;
const MICROSECONDS: i128 = 100_000_000_000_000;
const NANOSECONDS: i128 = 100_000_000_000_000_000;

fn number(text: &str) -> Option<Micros> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or((1, digits), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_decimal(whole) || !is_decimal(fraction) || text.len() > 40 {
        return None;
    }
    // The value times 10^9, so that nanoseconds of whole seconds are exact.
    let places = i32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_sub(places)?.checked_add(9)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(shift.unsigned_abs())?;
    let billionths = if shift >= 0 {
        digits.checked_mul(scale)?
    } else {
        digits / scale
    } * sign;

    let magnitude = (billionths / 1_000_000_000).abs();
    let per_micro = if magnitude < MILLISECONDS {
        1_000
    } else if magnitude < MICROSECONDS {
        1_000_000
    } else if magnitude < NANOSECONDS {
        1_000_000_000
    } else {
        1_000_000_000_000
    };
    let micros = billionths.div_euclid(per_micro);
    i64::try_from(micros)
        .ok()
        .and_then(|micros| Micros::from_micros(micros).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn read(json: &str) -> Option<String> {
        instant(serde_json::from_str(json).unwrap()).map(|at| at.to_string())
    }

    #[rstest]
    #[case::rfc3339("\"2026-02-15T17:00:00Z\"", "2026-02-15T17:00:00.000000Z")]
    #[case::offset("\"2026-02-15T17:00:00.123456789+01:00\"", "2026-02-15T16:00:00.123456Z")]
    #[case::protobuf(r#"{"nanos":346519550,"seconds":1647624308}"#, "2022-03-18T17:25:08.346519Z")]
    #[case::protobuf_texts(r#"{"seconds":"1647624308"}"#, "2022-03-18T17:25:08.000000Z")]
    #[case::seconds("1647624308", "2022-03-18T17:25:08.000000Z")]
    #[case::fraction("1647624308.3465195", "2022-03-18T17:25:08.346519Z")]
    #[case::exponent("1.647624308e9", "2022-03-18T17:25:08.000000Z")]
    #[case::milliseconds("1626362266059", "2021-07-15T15:17:46.059000Z")]
    #[case::microseconds("1626362266059001", "2021-07-15T15:17:46.059001Z")]
    #[case::nanoseconds("1626362266059001999", "2021-07-15T15:17:46.059001Z")]
    #[case::number_as_text("\"1626362266059\"", "2021-07-15T15:17:46.059000Z")]
    #[case::before_1970("-1", "1969-12-31T23:59:59.000000Z")]
    fn every_way_of_writing_an_instant_is_read(#[case] json: &str, #[case] expected: &str) {
        assert_eq!(read(json).as_deref(), Some(expected));
    }

    #[rstest]
    #[case("null")]
    #[case("true")]
    #[case("\"yesterday\"")]
    #[case("\"\"")]
    #[case("[]")]
    #[case("{}")]
    #[case(r#"{"seconds":1,"nanos":-1}"#)]
    #[case("1e400")]
    #[case("1e-400")]
    #[case("1e2147483647")]
    #[case("1e-2147483648")]
    #[case("0.00000000000000001e-2147483640")]
    #[case(r#"{"seconds":9223372036854775807,"nanos":999999999}"#)]
    #[case("99999999999999999999999999999")]
    fn what_is_no_instant_is_none(#[case] json: &str) {
        assert_eq!(read(json), None);
    }

    proptest! {
        #[test]
        fn no_number_breaks_it(mantissa in any::<i128>(), exponent in prop_oneof![-50..50_i32, any::<i32>()]) {
            let text = format!("{mantissa}e{exponent}");
            let value: Box<RawValue> = serde_json::from_str(&text).unwrap();
            instant(&value);
        }
    }
}
