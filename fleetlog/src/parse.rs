//! How arguments are read whose types do not know clap.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use control::{Encoding, Provider, SchemeKind};
use schema::{RawJson, Strategy};
use strum::VariantNames as _;

/// Reads the name of a scheme.
pub(crate) fn scheme_kind() -> impl TypedValueParser<Value = SchemeKind> {
    PossibleValuesParser::new(SchemeKind::VARIANTS).try_map(|text| text.parse::<SchemeKind>())
}

/// Reads the name of an encoding.
pub(crate) fn encoding() -> impl TypedValueParser<Value = Encoding> {
    PossibleValuesParser::new(Encoding::VARIANTS).try_map(|text| text.parse::<Encoding>())
}

/// Reads the name of a provider.
pub(crate) fn provider() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(Provider::VARIANTS).try_map(|text| text.parse::<Provider>())
}

/// Reads what the names of topics begin with: what Kafka takes, and short enough for every topic.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > 200 || !text.bytes().all(is_fit) {
        return Err("a prefix is 1 to 200 letters, digits, dots, underscores and hyphens".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads `field=strategy`.
pub(crate) fn strategy(text: &str) -> Result<(String, Strategy), String> {
    let (field, strategy) = text
        .split_once('=')
        .ok_or("a strategy is written FIELD=STRATEGY")?;
    let strategy = match strategy {
        "prefer_local" => Strategy::PreferLocal,
        "prefer_remote" => Strategy::PreferRemote,
        "manual" => Strategy::Manual,
        "merge" => Strategy::Merge,
        _ => return Err("a strategy is prefer_local, prefer_remote, manual or merge".to_owned()),
    };
    Ok((field.to_owned(), strategy))
}

/// Reads `field=json`.
pub(crate) fn field_json(text: &str) -> Result<(String, RawJson), String> {
    let (field, value) = text.split_once('=').ok_or("a field is written FIELD=JSON")?;
    let value = RawJson::parse(value)
        .map_err(|error| format!("{error}; a text needs its quotes: {field}='\"text\"'"))?;
    Ok((field.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_json_byte_for_byte() {
        let (field, value) = field_json(r#"notes={"a": 1.50}"#).unwrap();
        assert_eq!((field.as_str(), value.get()), ("notes", r#"{"a": 1.50}"#));
        assert!(field_json("notes=on the mast").is_err_and(|error| error.contains("quotes")));
    }
}
