//! Identifiers: a newtype each, parsed once at the edge and trusted inside.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::attribute;

/// Declares an identifier that is a UUID and nothing else.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// A tenant: devices, integrations and people belong to exactly one.
    OrganizationId
}
uuid_id! {
    /// A configured source of events, e.g. one Golioth project's webhook. Never changes its organization.
    IntegrationId
}
uuid_id! {
    /// One secret of an integration; several are live at once while they rotate.
    CredentialId
}
uuid_id! {
    /// An event. It covers the hash of the content, so one id never means two contents.
    EventId
}
uuid_id! {
    /// A device of ours (D in the documents): what people see, edit and bind provider devices to.
    DeviceId
}

impl DeviceId {
    /// The device that a serial number means: the same whether it was registered here or seen in a cloud first.
    pub fn of_serial(organization: OrganizationId, serial: &Serial) -> Self {
        Self(Uuid::new_v5(&organization.0, serial.as_str().as_bytes()))
    }

    /// A second device under a serial that is taken, for a provider device that turned out to be another machine.
    pub fn duplicate(organization: OrganizationId, serial: &Serial, of: &ProviderDevice) -> Self {
        let name = format!("{serial}\0{of}");
        Self(Uuid::new_v5(&organization.0, name.as_bytes()))
    }
}

/// Longest serial or external id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 256;

/// A serial number: a device's identity within its organization.
///
/// Providers say it (Golioth: the device *name*); nobody edits it. Canonical form: NFC, trimmed, case kept,
/// 1 to 256 bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

/// Why a text is no [`Serial`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a serial number has 1 to 256 bytes, no control characters and is not blank; got {0:?}")]
pub struct InvalidSerial(String);

impl Serial {
    /// Brings a name to canonical form.
    pub fn new(text: &str) -> Result<Self, InvalidSerial> {
        let trimmed = text.trim();
        // ASCII is composed as it stands.
        let canonical = if trimmed.is_ascii() {
            trimmed.to_owned()
        } else {
            trimmed.nfc().collect()
        };
        if is_id_text(&canonical) {
            Ok(Self(canonical))
        } else {
            Err(InvalidSerial(excerpt(text)))
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A device as its cloud names it: opaque, 1 to 256 bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ExternalId(String);

/// Why a text is no [`ExternalId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an external id has 1 to 256 bytes and no control characters; got {0:?}")]
pub struct InvalidExternalId(String);

impl ExternalId {
    /// Takes a cloud's id as it is.
    pub fn new(text: &str) -> Result<Self, InvalidExternalId> {
        if is_id_text(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidExternalId(excerpt(text)))
        }
    }

    /// The cloud's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ids travel as attributes, so they hold only what those may.
fn is_id_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID_BYTES && text.chars().all(attribute::is_allowed)
}

/// Enough of a refused text to recognize it, without repeating a huge one.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! string_id {
    ($name:ident, $error:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

string_id!(Serial, InvalidSerial);
string_id!(ExternalId, InvalidExternalId);

/// A device as one integration knows it (P in the documents).
///
/// Text form, which is also the Kafka key: `{integration}/id:{external id}`, or `{integration}/name:{serial}`
/// where only a name is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/(id|name):.+$"))]
pub struct ProviderDevice {
    /// The integration that speaks of it.
    pub integration: IntegrationId,
    /// By id, or by name alone.
    pub known_by: KnownBy,
}

/// What a provider told a device apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KnownBy {
    /// The cloud's own id.
    Id(ExternalId),
    /// Only a name: a serial number, since names are what people give machines.
    Name(Serial),
}

impl ProviderDevice {
    /// A provider device known by the cloud's id.
    pub fn by_id(integration: IntegrationId, id: ExternalId) -> Self {
        Self {
            integration,
            known_by: KnownBy::Id(id),
        }
    }

    /// A provider device of which only the name is known.
    pub fn by_name(integration: IntegrationId, name: Serial) -> Self {
        Self {
            integration,
            known_by: KnownBy::Name(name),
        }
    }

    /// A fixed-size stand-in for the text form, used as key in Postgres: UUIDv5(integration, `id:…` or `name:…`).
    pub fn uuid(&self) -> Uuid {
        let name = match &self.known_by {
            KnownBy::Id(id) => ["id:", id.as_str()].concat(),
            KnownBy::Name(name) => ["name:", name.as_str()].concat(),
        };
        Uuid::new_v5(&self.integration.0, name.as_bytes())
    }
}

impl fmt::Display for ProviderDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.known_by {
            KnownBy::Id(id) => write!(f, "{}/id:{id}", self.integration),
            KnownBy::Name(name) => write!(f, "{}/name:{name}", self.integration),
        }
    }
}

/// Why a text is no [`ProviderDevice`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a provider device is written `INTEGRATION/id:EXTERNAL_ID` or `INTEGRATION/name:SERIAL`; got {0:?}")]
pub struct InvalidProviderDevice(String);

impl FromStr for ProviderDevice {
    type Err = InvalidProviderDevice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (integration, known_by) = text.split_once('/')?;
            let integration = integration.parse().ok()?;
            match known_by.split_once(':')? {
                ("id", id) => Some(Self::by_id(integration, ExternalId::new(id).ok()?)),
                ("name", name) => Some(Self::by_name(integration, Serial::new(name).ok()?)),
                _ => None,
            }
        };
        parse().ok_or_else(|| InvalidProviderDevice(excerpt(text)))
    }
}

impl TryFrom<String> for ProviderDevice {
    type Error = InvalidProviderDevice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProviderDevice> for String {
    fn from(device: ProviderDevice) -> Self {
        device.to_string()
    }
}

/// Tells one log from another: eight lower-case hexadecimal digits, chosen when the topics are created.
///
/// Every record carries it, so that a topic that was deleted and made again is not taken for the same log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{8}$"))]
pub struct LogId(String);

/// Why a text is no [`LogId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a log id has eight lower-case hexadecimal digits; got {0:?}")]
pub struct InvalidLogId(String);

impl LogId {
    /// Reads a log id.
    pub fn new(text: &str) -> Result<Self, InvalidLogId> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() == 8 && digits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLogId(excerpt(text)))
        }
    }

    /// A new log's id.
    pub fn random() -> Self {
        let mut text = Uuid::new_v4().simple().to_string();
        text.truncate(8);
        Self(text)
    }

    /// The eight digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

string_id!(LogId, InvalidLogId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_trimmed_and_composed_but_keeps_its_case() {
        assert_eq!(
            Serial::new("  Cafe\u{301}-01 ").expect("valid").as_str(),
            "Caf\u{e9}-01"
        );
        assert!(Serial::new("   ").is_err());
        assert!(Serial::new("a\u{0}b").is_err());
    }

    #[test]
    fn a_provider_device_reads_back_what_it_writes() {
        let integration = IntegrationId(Uuid::from_u128(7));
        for known_by in ["id:686d5da0", "name:M 26/06:00008"] {
            let text = format!("{integration}/{known_by}");
            assert_eq!(text.parse::<ProviderDevice>().expect("valid").to_string(), text);
        }
        assert!("nonsense".parse::<ProviderDevice>().is_err());
        assert!(format!("{integration}/tag:x").parse::<ProviderDevice>().is_err());
    }

    #[test]
    fn a_log_id_is_eight_hexadecimal_digits() {
        assert!(LogId::new(LogId::random().as_str()).is_ok());
        assert!(LogId::new("ABCDEF01").is_err());
        assert!(LogId::new("abc").is_err());
    }
}
