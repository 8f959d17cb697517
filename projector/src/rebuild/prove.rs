//! The proof: both generations at the same positions of the log, table by table, and row by row where they differ.
//!
//! A snapshot of the live generation gives positions and rows of one instant, while its projectors go on. Meanwhile the
//! new generation folds exactly up to there. Rows that differ leave the snapshot as copies that outlive it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use sqlx::PgConnection;
use stream::Position;
use uuid::Uuid;

use super::{
    Digest, Progress, RebuildError, Site,
    digest::{self, Sums, Tables},
    report::{Proof, RowDifference, TableProof},
};
use crate::sql::{
    compare::{self, Common, Horizons, Part, Side},
    rebuilds, truth_tables,
};

/// How many of the rows that differ are shown of each table.
const SHOWN: u32 = 5;

/// A generation, and the version of the rules that filled it.
pub(crate) type Filled = (String, i32);

/// The live generation at one instant. Holds a transaction open until it is compared or dropped.
pub(crate) struct LiveSnapshot {
    connection: PgConnection,
    live: Filled,
    tables: Tables,
    horizons: Horizons,
    /// Where it stands.
    pub(crate) positions: Vec<Position>,
}

impl LiveSnapshot {
    /// Takes it, to be compared with generation `new`.
    pub(crate) async fn take(site: &Site, live: Filled, new: &str) -> Result<Self, RebuildError> {
        let mut connection = compare::open(&site.pool).await?;
        let tables = Tables::beside(
            truth_tables::of(&mut connection, &live.0).await?,
            truth_tables::of(&mut connection, new).await?,
        );
        let histories: Vec<_> = tables
            .histories()
            .map(|history| format!("{}.{history}", live.0))
            .collect();
        compare::begin(&mut connection, &histories).await?;
        let positions = rebuilds::standing(&mut connection, &live.0).await?;
        let has_horizons = tables.common.iter().any(|(table, ..)| table.name == "horizons");
        let horizons = if has_horizons {
            compare::horizons(&mut connection, &live.0).await?
        } else {
            Horizons::default()
        };
        Ok(Self {
            connection,
            live,
            tables,
            horizons,
            positions,
        })
    }

    /// How many tables are compared.
    pub(crate) fn n_tables(&self) -> u64 {
        self.tables.common.len().try_into().unwrap_or(u64::MAX)
    }

    /// Sums the live rows.
    pub(crate) async fn sums(&mut self, progress: &Progress) -> Result<Sums, RebuildError> {
        let sums = digest::sums(
            &mut self.connection,
            &self.live.0,
            &self.tables,
            self.horizons,
            progress,
        );
        Ok(sums.await?)
    }

    /// Counts the live rows of some provider devices and devices, by table.
    pub(crate) async fn count_of(
        &mut self,
        provider_devices: &[Uuid],
        devices: &[Uuid],
    ) -> Result<BTreeMap<String, u64>, RebuildError> {
        let mut counts = BTreeMap::new();
        for (table, ..) in &self.tables.common {
            let has = |column: &str| table.columns.iter().any(|held| held == column);
            let of = match table.name.as_str() {
                "provider_devices" => ("id", provider_devices),
                "devices" => ("id", devices),
                _ if has("provider_device") => ("provider_device", provider_devices),
                _ if has("device") => ("device", devices),
                _ => continue,
            };
            let n = compare::count_of(&mut self.connection, &self.live.0, table, self.horizons, of).await?;
            counts.insert(table.name.clone(), n);
        }
        Ok(counts)
    }

    /// When integrations were heard, but for some.
    pub(crate) async fn listening_but(&mut self, integrations: &[Uuid]) -> Result<Vec<String>, RebuildError> {
        Ok(compare::listening_but(&mut self.connection, &self.live.0, integrations).await?)
    }

    /// Compares with the new generation, which stands at the snapshot's positions and is written by nobody meanwhile.
    pub(crate) async fn compare(
        self,
        site: &Site,
        sums: Sums,
        new: Filled,
        progress: &Progress,
    ) -> Result<Proof, RebuildError> {
        let Self {
            mut connection,
            live,
            tables,
            horizons,
            positions,
        } = self;
        let mut other = compare::open(&site.pool).await?;
        let new_sums = digest::sums(&mut other, &new.0, &tables, horizons, progress).await?;
        let nothing = BTreeMap::new();
        let live_is_empty =
            positions.iter().all(|at| at.offset == 0) && sums.values().all(BTreeMap::is_empty);
        let mut judged = Vec::with_capacity(tables.common.len());
        for (table, only_live, only_new) in tables.common {
            let of = |sums: &Sums| sums.get(&table.name).unwrap_or(&nothing).clone();
            let (proof, mut days) = digest::judge(&table, (only_live, only_new), &of(&sums), &of(&new_sums));
            if live_is_empty {
                days.clear();
            }
            if !days.is_empty() {
                let copied = (Side::Live, Part::Days(&days));
                compare::copy(&mut connection, &live.0, &table, horizons, copied).await?;
            }
            judged.push((table, proof, days));
        }
        compare::end(&mut connection).await?;
        let mut texts = String::new();
        let mut proofs = Vec::with_capacity(judged.len());
        for (table, mut proof, days) in judged {
            if !days.is_empty() {
                let of_rows = rows(&mut connection, &new.0, &table, horizons, (&days, &mut proof)).await?;
                _ = writeln!(texts, "{} {of_rows}", table.name);
            }
            for column in &proof.columns_only_live {
                _ = writeln!(texts, "{} - {column}", table.name);
            }
            for column in &proof.columns_only_new {
                _ = writeln!(texts, "{} + {column}", table.name);
            }
            proofs.push(proof);
        }
        for table in &tables.only_live {
            _ = writeln!(texts, "- {table}");
        }
        for table in &tables.only_new {
            _ = writeln!(texts, "+ {table}");
        }
        if live.1 != new.1 {
            _ = writeln!(texts, "version {} is not {}", live.1, new.1);
        }
        Ok(Proof {
            live,
            new,
            positions: positions
                .iter()
                .map(|at| (at.topic.suffix(), at.partition, at.offset))
                .collect(),
            live_is_empty,
            digest_live: over_all(&proofs, |table| (table.rows_live, table.digest_live)),
            digest_new: over_all(&proofs, |table| (table.rows_new, table.digest_new)),
            difference: (!texts.is_empty()).then(|| Digest::of_text(&texts)),
            tables: proofs,
            only_live: tables.only_live,
            only_new: tables.only_new,
        })
    }
}

/// Compares the rows of these days one by one. Returns what names exactly this difference.
async fn rows(
    connection: &mut PgConnection,
    new: &str,
    table: &Common,
    horizons: Horizons,
    (days, proof): (&BTreeSet<String>, &mut TableProof),
) -> Result<String, RebuildError> {
    compare::copy(connection, new, table, horizons, (Side::New, Part::Days(days))).await?;
    let differing = compare::differing(connection, table).await?;
    proof.n_only_live = differing.only_live;
    proof.n_only_new = differing.only_new;
    proof.n_changed = differing.changed;
    let first = compare::first_differing(connection, table, SHOWN).await?;
    proof.first = first
        .into_iter()
        .map(|(live, new)| RowDifference::new(&table.key, live, new))
        .collect();
    Ok(format!(
        "{} {} {} {:016x}",
        differing.only_live, differing.only_new, differing.changed, differing.digest
    ))
}

fn over_all(tables: &[TableProof], of: impl Fn(&TableProof) -> (u64, Digest)) -> Digest {
    let mut text = String::new();
    for table in tables {
        let (rows, digest) = of(table);
        _ = writeln!(text, "{} {rows} {digest}", table.table);
    }
    Digest::of_text(&text)
}
