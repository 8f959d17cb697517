//! Why a record is not imported, and what to do about it.

use schema::{NotEditable, Serial};
use serde::Serialize;

/// A record that is not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    /// The line it begins in, from 1.
    pub(super) line: u64,
    /// Its serial number, if it has one.
    pub(super) serial: Option<String>,
    /// What is wrong.
    pub(super) reason: String,
    /// What to do.
    pub(super) advice: String,
}

impl Refusal {
    /// A record of which not even the serial number is known.
    pub(super) fn new(line: u64, reason: String, advice: &str) -> Self {
        Self {
            line,
            serial: None,
            reason,
            advice: advice.to_owned(),
        }
    }

    /// It has this serial number.
    pub(super) fn of(self, serial: &Serial) -> Self {
        Self {
            serial: Some(serial.to_string()),
            ..self
        }
    }

    /// A field that cannot be edited, or a value it does not hold.
    pub(super) fn of_field(line: u64, serial: &Serial, error: &NotEditable) -> Self {
        let advice = match error {
            NotEditable::Owned { field, .. } => format!("leave {field} out, or say --ignore {field}"),
            NotEditable::Unknown(field) => format!("correct the name, or say --ignore {field}"),
            NotEditable::Value { field, .. } => format!("correct {field}, or leave it out"),
        };
        Self::new(line, error.to_string(), &advice).of(serial)
    }
}
