//! The report of a rebuild, as people read it.

use indicatif::HumanBytes;
use projector::rebuild::{Audit, Of, Outcome, Proof, Report, RowDifference, TableProof};
use serde_json::Value;

use crate::{failure::Failure, output};

/// A value longer than this is cut: the rest is in the database.
const SHOWN_CHARACTERS: usize = 120;

/// Prints a report.
pub(super) fn report(report: &Report) -> Result<(), Failure> {
    let Report {
        generation, proof, ..
    } = report;
    output::line(format!(
        "{generation}, folded from log {} by version {} of the fold, beside {} by version {}",
        report.log, proof.new.1, proof.live.0, proof.live.1
    ))?;
    let phases: Vec<_> = report
        .phases
        .iter()
        .map(|(phase, took)| format!("{phase} {}", seconds(*took)))
        .collect();
    let total: f64 = report.phases.iter().map(|(_, took)| took).sum();
    let memory = report.most_memory.map_or_else(String::new, |most| {
        format!(", within {} of memory", HumanBytes(most as u64))
    });
    output::line(format!(
        "{} events in {} ({}){memory}\n",
        report.events,
        seconds(total),
        phases.join(", ")
    ))?;
    difference(proof)?;
    let is_of_readings = |table: &&TableProof| matches!(table.table.as_str(), "readings" | "logs");
    let mut histories = proof.tables.iter().filter(is_of_readings);
    if report.readings_expired && histories.any(|table| table.n_only_live > 0) {
        output::line(format!(
            "readings have expired from the log: {} has rows of readings and logs that are older. `fleetlog horizon \
             advance` lets go of them there as well, and later rebuilds do not differ by them",
            proof.live.0
        ))?;
    }
    match (report.outcome, &report.promotion) {
        (_, Some(promotion)) => output::line(format!(
            "readers see {generation} now; projectors waited {} for it. {} is kept: `fleetlog generations rollback` \
             goes back to it",
            seconds(promotion.held),
            promotion.from
        )),
        (Outcome::Proved, None) => output::line(format!(
            "`fleetlog generations promote {generation}` lets readers see it"
        )),
        (Outcome::Promoted | Outcome::Differs, None) => Ok(()),
    }
}

/// Prints how two generations compare.
fn difference(proof: &Proof) -> Result<(), Failure> {
    let rows: Vec<_> = proof.tables.iter().map(row).collect();
    output::table(
        [
            "table",
            "rows live",
            "rows new",
            "differ",
            "digest live",
            "digest new",
        ],
        &rows,
    )?;
    output::line(format!(
        "\ntotal: {} live, {} new",
        proof.digest_live, proof.digest_new
    ))?;
    if proof.live_is_empty {
        output::line(format!(
            "{} has folded nothing yet: there was nothing to compare with",
            proof.live.0
        ))?;
    }
    if proof.live.1 != proof.new.1 && !proof.live_is_empty {
        output::line(format!(
            "{} was filled by version {} of the fold and {} by version {}: rows that differ may be meant to, so it is \
             promoted only if what differs is accepted, even where no row does",
            proof.live.0, proof.live.1, proof.new.0, proof.new.1
        ))?;
    }
    for table in &proof.only_live {
        output::line(format!("table {table}: only {} has it", proof.live.0))?;
    }
    for table in &proof.only_new {
        output::line(format!("table {table}: only {} has it", proof.new.0))?;
    }
    let names = (proof.live.0.as_str(), proof.new.0.as_str());
    for table in &proof.tables {
        one(names, table)?;
    }
    match proof.difference {
        None => output::line("identical"),
        Some(difference) => output::line(format!(
            "{} rows differ; the digest of this difference is {difference}",
            proof.n_differing()
        )),
    }
}

fn row(table: &TableProof) -> [String; 6] {
    let short = |digest: &dyn std::fmt::Display| digest.to_string()[..16].to_owned();
    [
        table.table.clone(),
        table.rows_live.to_string(),
        table.rows_new.to_string(),
        table.n_differing().to_string(),
        short(&table.digest_live),
        short(&table.digest_new),
    ]
}

/// What differs of a table; `live` and `new` are what the two sides are called.
fn one((live, new): (&str, &str), table: &TableProof) -> Result<(), Failure> {
    for (columns, of) in [(&table.columns_only_live, live), (&table.columns_only_new, new)] {
        if !columns.is_empty() {
            output::line(format!("{}: only {of} has {}", table.table, columns.join(", ")))?;
        }
    }
    if table.n_differing() == 0 {
        return Ok(());
    }
    output::line(format!(
        "\n{}: {} rows only in {}, {} only in {}, {} with other values",
        table.table, table.n_only_live, live, table.n_only_new, new, table.n_changed
    ))?;
    for row in &table.first {
        shown((live, new), row)?;
    }
    let n_shown = u64::try_from(table.first.len()).unwrap_or(u64::MAX);
    if table.n_differing() > n_shown {
        output::line(format!("  and {} more", table.n_differing() - n_shown))?;
    }
    Ok(())
}

fn shown((live, new): (&str, &str), row: &RowDifference) -> Result<(), Failure> {
    let key: Vec<_> = row
        .key
        .iter()
        .map(|(column, value)| format!("{column}={}", short(value)))
        .collect();
    let key = key.join(" ");
    match row.of {
        Of::Live => output::line(format!("  {key}: only in {live}"))?,
        Of::New => output::line(format!("  {key}: only in {new}"))?,
        Of::Both => output::line(format!("  {key}"))?,
    }
    for column in &row.columns {
        let shown = match row.of {
            Of::Live => format!("    {}: {}", column.column, short(&column.live)),
            Of::New => format!("    {}: {}", column.column, short(&column.new)),
            Of::Both => format!(
                "    {}: live {}, new {}",
                column.column,
                short(&column.live),
                short(&column.new)
            ),
        };
        output::line(shown)?;
    }
    Ok(())
}

/// Prints what folding some devices again came to.
pub(crate) fn audit(audit: &Audit) -> Result<(), Failure> {
    output::line(format!(
        "{} devices and {} provider devices of {}, folded again from {} events of log {}",
        audit.devices, audit.provider_devices, audit.generation, audit.events, audit.log
    ))?;
    if audit.readings_expired {
        output::line("readings have expired: what only the live histories have was not counted")?;
    }
    for table in &audit.tables {
        one((&audit.generation, "the log"), table)?;
    }
    output::line(format!(
        "{} rows compared, {} differ",
        audit.n_rows(),
        audit.n_differing()
    ))
}

/// A value on one line, cut where it is long.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text;
    }
    let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
    format!("{cut}…")
}

/// A duration as people read it.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.1} s")
    }
}
