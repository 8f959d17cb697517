//! Digests of a generation's tables, and which of two generations' tables can be compared.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::{Digest, Progress, report::TableProof};
use crate::sql::{
    compare::{self, Common, Horizons, Sum},
    truth_tables::Table,
};

/// The tables of two generations, side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Those that both have, and what only one has of their columns: live, new.
    pub(crate) common: Vec<(Common, Vec<String>, Vec<String>)>,
    pub(crate) only_live: Vec<String>,
    pub(crate) only_new: Vec<String>,
}

/// The sums of a generation's rows: by table, and within it by day.
pub(crate) type Sums = BTreeMap<String, BTreeMap<String, Sum>>;

impl Tables {
    /// Compares by name. A column of another type is another column.
    pub(crate) fn beside(live: Vec<Table>, new: Vec<Table>) -> Self {
        let mut new: BTreeMap<String, Table> =
            new.into_iter().map(|table| (table.name.clone(), table)).collect();
        let mut tables = Self::default();
        for table in live {
            let Some(other) = new.remove(&table.name) else {
                tables.only_live.push(table.name);
                continue;
            };
            tables.common.push(beside(table, &other));
        }
        tables.only_new.extend(new.into_keys());
        tables
    }

    /// The histories, by name.
    pub(crate) fn histories(&self) -> impl Iterator<Item = &str> {
        let common = self.common.iter().map(|(table, ..)| table);
        common.filter(|table| table.by_day).map(|table| &*table.name)
    }
}

fn beside(live: Table, new: &Table) -> (Common, Vec<String>, Vec<String>) {
    let named = |(name, of): &(String, String)| format!("{name} {of}");
    let lacks = |table: &Table, column: &(String, String)| !table.columns.contains(column);
    let only_live = live.columns.iter().filter(|column| lacks(new, column)).map(named);
    let only_new = new
        .columns
        .iter()
        .filter(|column| lacks(&live, column))
        .map(named);
    let (only_live, only_new) = (only_live.collect(), only_new.collect());
    let common = live.columns.iter().filter(|column| !lacks(new, column));
    let columns: Vec<String> = common.map(|(name, _)| name.clone()).collect();
    let has_key = live.key.iter().all(|column| columns.contains(column));
    let common = Common {
        key: if has_key { live.key } else { Vec::new() },
        name: live.name,
        columns,
        by_day: live.by_day && new.by_day,
    };
    (common, only_live, only_new)
}

/// Sums all rows of these tables.
pub(crate) async fn sums(
    connection: &mut PgConnection,
    generation: &str,
    tables: &Tables,
    horizons: Horizons,
    progress: &Progress,
) -> sqlx::Result<Sums> {
    let mut sums = Sums::new();
    for (table, ..) in &tables.common {
        let of_table = compare::sums(connection, generation, table, horizons).await?;
        sums.insert(table.name.clone(), of_table);
        progress.add(1);
    }
    Ok(sums)
}

/// What the sums say of a table: its proof without differing rows, and the days on which rows differ.
pub(crate) fn judge(
    table: &Common,
    only: (Vec<String>, Vec<String>),
    live: &BTreeMap<String, Sum>,
    new: &BTreeMap<String, Sum>,
) -> (TableProof, BTreeSet<String>) {
    let (all_live, all_new) = (total(live), total(new));
    let days = live.keys().chain(new.keys());
    let differing = days.filter(|day| live.get(*day) != new.get(*day)).cloned();
    let proof = TableProof {
        table: table.name.clone(),
        rows_live: all_live.rows,
        rows_new: all_new.rows,
        digest_live: Digest::of_rows(all_live),
        digest_new: Digest::of_rows(all_new),
        columns_only_live: only.0,
        columns_only_new: only.1,
        ..TableProof::default()
    };
    (proof, differing.collect())
}

fn total(sums: &BTreeMap<String, Sum>) -> Sum {
    sums.values().fold(Sum::default(), |total, sum| Sum {
        rows: total.rows + sum.rows,
        first: total.first.wrapping_add(sum.first),
        second: total.second.wrapping_add(sum.second),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, columns: &[&str], key: &[&str]) -> Table {
        Table {
            name: name.to_owned(),
            columns: columns
                .iter()
                .map(|name| ((*name).to_owned(), "text".to_owned()))
                .collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            by_day: false,
        }
    }

    #[test]
    fn what_only_one_generation_has_is_named() {
        let live = vec![table("a", &["id", "x"], &["id"]), table("gone", &["id"], &["id"])];
        let new = vec![table("a", &["y", "id"], &["id"]), table("more", &["id"], &["id"])];
        let tables = Tables::beside(live, new);
        assert_eq!(
            (&*tables.only_live, &*tables.only_new),
            (&["gone".to_owned()][..], &["more".to_owned()][..])
        );
        let [(common, live, new)] = &tables.common[..] else {
            panic!("{tables:?}");
        };
        assert_eq!(
            (&*common.columns, &*common.key),
            (&["id".to_owned()][..], &["id".to_owned()][..])
        );
        assert_eq!(
            (live, new),
            (&vec!["x text".to_owned()], &vec!["y text".to_owned()])
        );
    }

    #[test]
    fn only_days_whose_rows_differ_are_looked_into() {
        let sum = |rows, first| Sum {
            rows,
            first,
            second: 0,
        };
        let day = |day: &str, sum| (day.to_owned(), sum);
        let live = BTreeMap::from([day("2026-01-01", sum(1, 5)), day("2026-01-02", sum(1, 6))]);
        let new = BTreeMap::from([day("2026-01-01", sum(1, 5)), day("2026-01-03", sum(2, 7))]);
        let common = beside(table("a", &["id"], &["id"]), &table("a", &["id"], &["id"])).0;
        let (proof, days) = judge(&common, (Vec::new(), Vec::new()), &live, &new);
        assert_eq!((proof.rows_live, proof.rows_new), (2, 3));
        assert_eq!(
            days,
            BTreeSet::from(["2026-01-02".to_owned(), "2026-01-03".to_owned()])
        );
    }
}
