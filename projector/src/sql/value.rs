//! How values of ours travel to Postgres and back.

use std::collections::BTreeMap;

use schema::{EventId, MaxRegister, Micros, OrderKey};
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef},
};
use time::OffsetDateTime;
use uuid::Uuid;

/// An instant as `timestamptz`: microseconds since 2000, which is what Postgres keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(pub(crate) Micros);

/// 2000-01-01T00:00:00Z.
const EPOCH: i64 = 946_684_800_000_000;

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for At {
    fn array_type_info() -> PgTypeInfo {
        <OffsetDateTime as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<'_, Postgres>>::encode_by_ref(&(self.0.as_micros() - EPOCH), buffer)
    }
}

impl<'r> Decode<'r, Postgres> for At {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = match value.format() {
            PgValueFormat::Binary => <i64 as Decode<'r, Postgres>>::decode(value)?.saturating_add(EPOCH),
            PgValueFormat::Text => {
                let at = <OffsetDateTime as Decode<'r, Postgres>>::decode(value)?;
                Micros::from(at).as_micros()
            }
        };
        Ok(Self(Micros::from_micros(micros)?))
    }
}

/// One column of rows, in the order of their keys.
pub(crate) fn column<'a, K, V, T>(rows: &'a BTreeMap<K, V>, of: impl Fn(&'a K, &'a V) -> T) -> Vec<T> {
    rows.iter().map(|(key, row)| of(key, row)).collect()
}

/// The columns of order keys; all are null where there is none.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) at: Vec<Option<At>>,
    pub(crate) sequence: Vec<Option<i64>>,
    pub(crate) id: Vec<Option<Uuid>>,
}

impl Keys {
    pub(crate) fn of<K, V>(rows: &BTreeMap<K, V>, of: impl Fn(&V) -> Option<OrderKey>) -> Self {
        let mut keys = Self::default();
        for key in rows.values().map(of) {
            keys.at.push(key.map(|key| At(key.at)));
            keys.sequence.push(key.map(|key| key.sequence));
            keys.id.push(key.map(|key| key.id.0));
        }
        keys
    }
}

/// A register read from its columns.
pub(crate) fn register<T>(
    at: Option<At>,
    sequence: Option<i64>,
    id: Option<Uuid>,
    value: T,
) -> MaxRegister<T> {
    let mut register = MaxRegister::default();
    if let Some(key) = order_key(at, sequence, id) {
        register.join(key, value);
    }
    register
}

/// An order key read from its columns.
pub(crate) fn order_key(at: Option<At>, sequence: Option<i64>, id: Option<Uuid>) -> Option<OrderKey> {
    Some(OrderKey {
        at: at?.0,
        sequence: sequence?,
        id: EventId(id?),
    })
}

/// SQL: whether the proposed register `$register` of `$proposed` is newer than the one of `held`, if that holds any.
/// Its columns are `{register}_at`, `_sequence` and `_id`.
macro_rules! newer {
    ($proposed:literal, $register:literal) => {
        concat!(
            "(held.",
            $register,
            "_id IS NULL OR (",
            $proposed,
            ".",
            $register,
            "_at, ",
            $proposed,
            ".",
            $register,
            "_sequence, ",
            $proposed,
            ".",
            $register,
            "_id) > (held.",
            $register,
            "_at, held.",
            $register,
            "_sequence, held.",
            $register,
            "_id))"
        )
    };
}

pub(crate) use newer;
