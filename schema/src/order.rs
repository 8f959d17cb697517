//! What happened when: one total order over all events of a log, and the joins built on it.

use serde::{Deserialize, Serialize};

use crate::{EventId, Micros};

/// The order key (K in the documents), computed once, by the producer; the fold only compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderKey {
    /// When it happened, as far as that is believed.
    pub at: Micros,
    /// The provider's monotone number, or the index within the delivery.
    pub sequence: i64,
    /// Breaks ties. It covers the content, so equal keys mean equal contents.
    pub id: EventId,
}

/// Keeps the value with the greatest key.
///
/// Joining is commutative, associative and idempotent, so no order of arrival and no repeat can change the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxRegister<T> {
    held: Option<(OrderKey, T)>,
}

impl<T> Default for MaxRegister<T> {
    fn default() -> Self {
        Self { held: None }
    }
}

impl<T> MaxRegister<T> {
    /// Takes the value if its key is greater than the held one; says whether it did.
    pub fn join(&mut self, key: OrderKey, value: T) -> bool {
        let newer = self.held.as_ref().is_none_or(|(held, _)| *held < key);
        if newer {
            self.held = Some((key, value));
        }
        newer
    }

    /// The newest value.
    pub fn value(&self) -> Option<&T> {
        self.held.as_ref().map(|(_, value)| value)
    }

    /// The key of the newest value.
    pub fn key(&self) -> Option<OrderKey> {
        self.held.as_ref().map(|(key, _)| *key)
    }

    /// Key and value.
    pub fn held(&self) -> Option<&(OrderKey, T)> {
        self.held.as_ref()
    }

    /// Gives up what it holds.
    pub fn into_held(self) -> Option<(OrderKey, T)> {
        self.held
    }
}
