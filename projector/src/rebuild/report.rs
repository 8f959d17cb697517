//! What a rebuild came to, for people and programs.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Promotion;
use crate::sql::compare::Sum;

/// What a rebuild came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The generation that was filled.
    pub generation: String,
    /// The log it was filled from.
    pub log: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Events read from the log.
    pub events: u64,
    /// Seconds of each phase, in their order.
    pub phases: Vec<(&'static str, f64)>,
    /// Bytes that the process took in memory at the most, where the system says so.
    pub most_memory: Option<usize>,
    /// Readings have expired from the log: their histories are only in generations that folded them before.
    pub readings_expired: bool,
    /// How it compares with the live generation.
    pub proof: Proof,
    /// How it was promoted, if it was.
    pub promotion: Option<Promotion>,
}

/// What became of a rebuilt generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Readers see it.
    Promoted,
    /// It could be promoted.
    Proved,
    /// It differs from the live generation; what differs has not been accepted.
    Differs,
}

/// How two generations compare, both at the same positions of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The live generation, and the version of the rules that filled it.
    pub live: (String, i32),
    /// The new one, likewise.
    pub new: (String, i32),
    /// Where both stood: topic, partition, offset.
    pub positions: Vec<(&'static str, i32, i64)>,
    /// The live generation has not folded anything yet: there is nothing to compare with.
    pub live_is_empty: bool,
    /// One digest over all tables of the live generation.
    pub digest_live: Digest,
    /// One digest over all tables of the new one.
    pub digest_new: Digest,
    /// The digest of what differs, which accepts it; none if nothing does.
    pub difference: Option<Digest>,
    /// Tables that both have.
    pub tables: Vec<TableProof>,
    /// Tables that only the live generation has.
    pub only_live: Vec<String>,
    /// Tables that only the new generation has.
    pub only_new: Vec<String>,
}

/// How the rows of one table compare.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableProof {
    /// The table.
    pub table: String,
    /// Live rows.
    pub rows_live: u64,
    /// New rows.
    pub rows_new: u64,
    /// A digest of the live rows.
    pub digest_live: Digest,
    /// A digest of the new rows.
    pub digest_new: Digest,
    /// Columns, with their types, that only the live generation has: they were not compared.
    pub columns_only_live: Vec<String>,
    /// Columns that only the new generation has.
    pub columns_only_new: Vec<String>,
    /// Rows that only the live generation has.
    pub n_only_live: u64,
    /// Rows that only the new generation has.
    pub n_only_new: u64,
    /// Rows whose keys both have, and whose other columns differ.
    pub n_changed: u64,
    /// The first of the rows that differ, by key.
    pub first: Vec<RowDifference>,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// Its primary key.
    pub key: Map<String, Value>,
    /// Who has it.
    pub of: Of,
    /// The columns that differ: all where only one has the row.
    pub columns: Vec<ColumnDifference>,
}

/// Who has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Only the live generation.
    Live,
    /// Only the new generation.
    New,
    /// Both, with other contents.
    Both,
}

/// A column that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    /// The column.
    pub column: String,
    /// What the live generation has.
    pub live: Value,
    /// What the new generation has.
    pub new: Value,
}

/// 128 bits over rows or tables, the same for equal sets in any order. Shown as 32 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// The digest of rows.
    pub(crate) fn of_rows(sum: Sum) -> Self {
        Self(u128::from(sum.first) << 64 | u128::from(sum.second))
    }

    /// The digest of a text that lists what it is over.
    pub(crate) fn of_text(text: &str) -> Self {
        Self(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).as_u128())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TableProof {
    /// Rows that differ.
    pub fn n_differing(&self) -> u64 {
        self.n_only_live + self.n_only_new + self.n_changed
    }

    /// Whether both have the same columns and rows.
    pub fn is_identical(&self) -> bool {
        self.n_differing() == 0
            && self.digest_live == self.digest_new
            && self.columns_only_live.is_empty()
            && self.columns_only_new.is_empty()
    }
}

impl Proof {
    /// Whether nothing differs that readers could see.
    pub fn is_identical(&self) -> bool {
        self.difference.is_none()
    }

    /// Rows that differ in all tables.
    pub fn n_differing(&self) -> u64 {
        self.tables.iter().map(TableProof::n_differing).sum()
    }
}

impl RowDifference {
    /// Compares a row column by column.
    pub(crate) fn new(key: &[String], live: Option<Value>, new: Option<Value>) -> Self {
        let of = match (&live, &new) {
            (Some(_), None) => Of::Live,
            (None, _) => Of::New,
            (Some(_), Some(_)) => Of::Both,
        };
        let fields = |row: Option<Value>| match row {
            Some(Value::Object(fields)) => fields,
            Some(_) | None => Map::new(),
        };
        let (live, new) = (fields(live), fields(new));
        let has = |column: &String| live.get(column).or_else(|| new.get(column)).cloned();
        let is_key = |column: &&String| key.contains(column);
        let mut columns: Vec<_> = live
            .keys()
            .chain(new.keys().filter(|column| !live.contains_key(*column)))
            .collect();
        columns.retain(|column| !is_key(column));
        let columns = columns
            .into_iter()
            .filter(|column| of != Of::Both || live.get(*column) != new.get(*column))
            .map(|column| ColumnDifference {
                column: column.clone(),
                live: live.get(column).cloned().unwrap_or_default(),
                new: new.get(column).cloned().unwrap_or_default(),
            })
            .collect();
        Self {
            key: key
                .iter()
                .filter_map(|column| Some((column.clone(), has(column)?)))
                .collect(),
            of,
            columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_changed_row_names_its_key_and_only_the_columns_that_differ() {
        let key = ["id".to_owned()];
        let (live, new) = (
            json!({"id": 1, "a": 2, "b": null}),
            json!({"id": 1, "a": 3, "b": null}),
        );
        let row = RowDifference::new(&key, Some(live), Some(new));
        assert_eq!((row.of, json!(row.key)), (Of::Both, json!({"id": 1})));
        let columns: Vec<_> = row
            .columns
            .iter()
            .map(|c| (&*c.column, &c.live, &c.new))
            .collect();
        assert_eq!(columns, [("a", &json!(2), &json!(3))]);
    }

    #[test]
    fn a_row_that_only_one_has_is_shown_whole() {
        let key = ["id".to_owned()];
        let row = RowDifference::new(&key, None, Some(json!({"id": 1, "a": 2})));
        assert_eq!(row.of, Of::New);
        assert_eq!(json!(row.key), json!({"id": 1}));
        assert_eq!(row.columns.len(), 1);
    }
}
