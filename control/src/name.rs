//! What people call organizations and integrations.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// Longest name, in characters.
const MAX_CHARS: usize = 200;

/// A name given by people: 1 to 200 characters, trimmed, not blank, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 200 characters, no control characters and is not blank")]
pub struct InvalidName;

impl Name {
    /// Trims a text and checks it.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        let fits = !text.is_empty() && text.chars().count() <= MAX_CHARS;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name as Postgres holds it, which checked it by rules of its own.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}
