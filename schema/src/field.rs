//! Fields of a device: which can be edited here, and who owns the others.

use std::fmt;

use serde_json::Value;

use crate::RawJson;

/// Longest text that a field holds, in bytes.
const MAX_TEXT_BYTES: usize = 4_096;
/// Longest name that people give, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest metadata or location, in bytes of JSON.
const MAX_JSON_BYTES: usize = 65_536;
/// Longest id of a tag, in bytes.
const MAX_TAG_BYTES: usize = 256;
/// What a tag's field begins with.
const TAG: &str = "tag:";

/// A field that can be edited here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What people call the device. Ours alone; without one the serial is shown.
    Name,
    /// Whatever people note. Ours alone.
    Notes,
    /// Where the device is. Ours alone.
    Location,
    /// Metadata as the cloud holds it, as one value.
    Metadata,
    /// Whether the cloud lets it connect.
    Enabled,
    /// The cloud's blueprint or device type.
    Blueprint,
    /// Whether the device has the tag of this id.
    Tag(String),
}

/// Why a field cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEditable {
    /// Someone else owns it.
    #[error("{field} is owned by {owner}: {instead}")]
    Owned {
        /// The field.
        field: String,
        /// Who owns it.
        owner: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// No such field.
    #[error(
        "there is no field {0:?}; editable are name, notes, location, metadata, enabled, blueprint, and tag:ID for \
         each tag"
    )]
    Unknown(String),
    /// The value is none of this field's.
    #[error("{field} is {wanted}; got {found}")]
    Value {
        /// The field.
        field: String,
        /// What it holds.
        wanted: String,
        /// What was given, shortened.
        found: String,
    },
}

/// Fields that others own: field, owner, what to do instead.
const OWNED: [(&str, &str, &str); 14] = [
    (
        "status",
        "the cloud",
        "it is the cloud's own word for the device; change it there",
    ),
    (
        "battery",
        "the device",
        "it reports its battery in readings; which value counts is the integration's battery pointer",
    ),
    (
        "signal",
        "the device",
        "it reports its signal in readings; which value counts is the integration's signal pointer",
    ),
    (
        "firmware",
        "the device",
        "it reports what it runs; to change that, deploy another version",
    ),
    (
        "firmware_version",
        "the device",
        "it reports what it runs; to change that, deploy another version",
    ),
    (
        "hardware_ids",
        "the cloud",
        "they are registered with the device there; change them there",
    ),
    (
        "connectivity",
        "the device",
        "it follows from what is heard of it; how long it may be silent is the integration's policy",
    ),
    (
        "last_report_at",
        "the device",
        "it follows from what is heard of it",
    ),
    (
        "last_seen_online_at",
        "the device",
        "it follows from what is heard of it",
    ),
    (
        "last_seen_offline_at",
        "the device",
        "it follows from what is heard of it",
    ),
    (
        "cohort",
        "the cloud",
        "changing it is a deployment, since it decides which firmware the device gets: change it there",
    ),
    (
        "serial",
        "the cloud",
        "it is the name the cloud has for the device; rename it there, or bind it",
    ),
    (
        "tags",
        "nobody as a whole",
        "add or remove one tag at a time, as the boolean field tag:ID",
    ),
    (
        "provider_devices",
        "the cloud",
        "to say which device a provider device is, bind it",
    ),
];

impl Field {
    /// Reads the name of a field.
    ///
    /// # Errors
    /// There is none of this name, or others own it.
    pub fn parse(name: &str) -> Result<Self, NotEditable> {
        match name {
            "name" => return Ok(Self::Name),
            "notes" => return Ok(Self::Notes),
            "location" => return Ok(Self::Location),
            "metadata" => return Ok(Self::Metadata),
            "enabled" => return Ok(Self::Enabled),
            "blueprint" => return Ok(Self::Blueprint),
            _ => {}
        }
        if let Some(id) = name.strip_prefix(TAG)
            && !id.is_empty()
            && id.len() <= MAX_TAG_BYTES
            && !id.contains(char::is_control)
        {
            return Ok(Self::Tag(id.to_owned()));
        }
        match OWNED.iter().find(|(field, ..)| *field == name) {
            Some((field, owner, instead)) => Err(NotEditable::Owned {
                field: (*field).to_owned(),
                owner,
                instead,
            }),
            None => Err(NotEditable::Unknown(shortened(name))),
        }
    }

    /// Whether the field is ours alone, so that no cloud can contradict it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Name | Self::Notes | Self::Location => true,
            Self::Metadata | Self::Enabled | Self::Blueprint | Self::Tag(_) => false,
        }
    }

    /// Whether the field of this name is ours alone.
    pub fn is_local_name(name: &str) -> bool {
        matches!(name, "name" | "notes" | "location")
    }

    /// Whether the field of this name is a tag's.
    pub fn is_tag_name(name: &str) -> bool {
        name.starts_with(TAG)
    }

    /// Checks a value for this field; `null` unsets it.
    ///
    /// # Errors
    /// The field does not hold such a value; says what it holds.
    pub fn check(&self, value: &RawJson) -> Result<(), NotEditable> {
        let wanted = match self {
            Self::Name => {
                format!("a text of 1 to {MAX_NAME_BYTES} bytes without control characters, or null")
            }
            Self::Notes | Self::Blueprint => format!("a text of at most {MAX_TEXT_BYTES} bytes, or null"),
            Self::Location => format!("a text or an object of at most {MAX_TEXT_BYTES} bytes, or null"),
            Self::Metadata => format!("an object of at most {MAX_JSON_BYTES} bytes, or null"),
            Self::Enabled | Self::Tag(_) => "true or false".to_owned(),
        };
        let fits = match (self, value.value()) {
            (Self::Enabled | Self::Tag(_), Ok(Value::Bool(_)))
            | (
                Self::Name | Self::Notes | Self::Location | Self::Metadata | Self::Blueprint,
                Ok(Value::Null),
            ) => true,
            (Self::Name, Ok(Value::String(text))) => {
                !text.trim().is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control)
            }
            (Self::Notes | Self::Blueprint, Ok(Value::String(text))) => text.len() <= MAX_TEXT_BYTES,
            (Self::Location, Ok(Value::String(_) | Value::Object(_))) => value.get().len() <= MAX_TEXT_BYTES,
            (Self::Metadata, Ok(Value::Object(_))) => value.get().len() <= MAX_JSON_BYTES,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(NotEditable::Value {
            field: self.to_string(),
            wanted,
            found: shortened(value.get()),
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("name"),
            Self::Notes => f.write_str("notes"),
            Self::Location => f.write_str("location"),
            Self::Metadata => f.write_str("metadata"),
            Self::Enabled => f.write_str("enabled"),
            Self::Blueprint => f.write_str("blueprint"),
            Self::Tag(id) => write!(f, "{TAG}{id}"),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("name", r#""North gate""#)]
    #[case("notes", "null")]
    #[case("location", r#"{"lat":1.5}"#)]
    #[case("metadata", r#"{"a":1}"#)]
    #[case("enabled", "false")]
    #[case("tag:blue", "true")]
    fn an_editable_field_takes_its_values(#[case] name: &str, #[case] value: &str) {
        let field = Field::parse(name).unwrap();
        assert_eq!(field.to_string(), name);
        field.check(&RawJson::parse(value).unwrap()).unwrap();
    }

    #[rstest]
    #[case("name", "1")]
    #[case("name", r#"" ""#)]
    #[case("metadata", "[1]")]
    #[case("enabled", "null")]
    #[case("tag:blue", r#""yes""#)]
    fn a_value_that_is_none_of_the_fields_is_refused_with_what_it_holds(
        #[case] name: &str,
        #[case] value: &str,
    ) {
        let refusal = Field::parse(name)
            .unwrap()
            .check(&RawJson::parse(value).unwrap())
            .unwrap_err();
        assert!(refusal.to_string().starts_with(name), "{refusal}");
    }

    #[test]
    fn a_field_that_others_own_names_its_owner() {
        let refusal = Field::parse("cohort").unwrap_err();
        assert!(refusal.to_string().contains("the cloud"), "{refusal}");
        assert!(refusal.to_string().contains("deployment"), "{refusal}");
        assert!(matches!(Field::parse("colour"), Err(NotEditable::Unknown(_))));
        assert!(matches!(Field::parse("tag:"), Err(NotEditable::Unknown(_))));
    }
}
