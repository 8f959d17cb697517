//! `fleetlog rebuild`: the projections folded again from the log, and proved.

mod show;

use std::str::FromStr;

use clap::Args;
use indicatif::HumanBytes;
use projector::rebuild::{Access, Order, Outcome, Progress, Report, least_memory};
use service::CancellationToken;

use crate::{
    config::{KafkaArgs, ProjectorDatabase},
    failure::Failure,
    output, projector_role,
    watch::{stoppable, watched},
};
pub(crate) use show::{audit, seconds};

/// How many connections a rebuild has: two for each partition that is loaded, and some that wait and compare.
const CONNECTIONS: u32 = 16;

/// Folds the whole log again into a new generation, and lets readers see it if it is the same as the live one
///
/// The live generation goes on meanwhile, and so do its projectors; readers see no gap. Both are compared row by row at
/// the same positions of the log: rows that were written, changed or deleted by hand are found and named. What differs
/// is promoted only if it is accepted by the digest in the report.
///
/// Told to stop, or killed, it goes on where it was when it is run again.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog rebuild                         # after an upgrade that changed the fold, or in doubt
  fleetlog rebuild --no-promote            # only to know
  fleetlog rebuild --accept 8a4…           # what differs is as it should be
  fleetlog rebuild --device C252400001     # one device alone, in the live generation
  fleetlog generations rollback            # back to the generation before

Exit codes: 0 if it was promoted, or could be; 1 if it differs, 4 if it was refused, 5 if it was stopped or something
cannot be reached.")]
pub(crate) struct Rebuild {
    /// Memory that the process may take, e.g. 512MB or 2GiB
    #[arg(
        long,
        env = "FLEETLOG_REBUILD_MEMORY",
        value_name = "SIZE",
        default_value = "512MB"
    )]
    memory: Size,
    /// Partitions that are folded at the same time; they share the memory
    #[arg(long, env = "FLEETLOG_REBUILD_WORKERS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Fold only this device again, by serial number or id, and put its live rows right
    #[arg(long, value_name = "SERIAL|ID", conflicts_with_all = ["promote", "no_promote", "accept", "afresh"])]
    device: Option<String>,
    #[command(flatten)]
    promotion: Promotion,
    /// What differs is as it should be: the digest of the difference, from the report
    #[arg(long, value_name = "DIGEST")]
    accept: Option<String>,
    /// Throw away what a rebuild that was stopped has done, instead of going on with it
    #[arg(long)]
    afresh: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ProjectorDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What becomes of the new generation.
#[derive(Args)]
struct Promotion {
    /// Let readers see the new generation if nothing differs, or what differs is accepted; the default
    #[arg(long, overrides_with = "no_promote")]
    promote: bool,
    /// Leave it at that: `fleetlog generations promote` lets readers see it
    #[arg(long, overrides_with = "promote")]
    no_promote: bool,
}

impl Rebuild {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        if let Some(device) = &self.device {
            return self.one(device, &stop).await;
        }
        let order = Order {
            access: access(&self.kafka, &self.database)?,
            memory: self.memory.enough_for(self.workers)?,
            workers: self.workers.into(),
            promote: !self.promotion.no_promote,
            accept: self.accept,
            afresh: self.afresh,
            stop: stop.clone(),
        };
        let progress = Progress::default();
        let work = Box::pin(projector::rebuild::rebuild(&order, &progress));
        let report = watched(&progress, &stop, work).await?;
        if self.json {
            output::json(&report)?;
        } else {
            show::report(&report)?;
        }
        ended(&report)
    }

    /// One device alone.
    async fn one(&self, device: &str, stop: &CancellationToken) -> Result<(), Failure> {
        let access = access(&self.kafka, &self.database)?;
        let progress = Progress::default();
        let work = Box::pin(projector::rebuild::rebuild_device(&access, device, &progress));
        let repaired = stoppable(&progress, stop, work).await?;
        if self.json {
            return output::json(&repaired);
        }
        show::audit(&repaired)?;
        output::line(if repaired.repaired {
            "put right"
        } else {
            "nothing differs from the log"
        })
    }
}

/// A difference is told by the exit code, too.
fn ended(report: &Report) -> Result<(), Failure> {
    match (report.outcome, report.proof.difference) {
        (Outcome::Promoted | Outcome::Proved, _) | (Outcome::Differs, None) => Ok(()),
        (Outcome::Differs, Some(difference)) => Err(Failure::Failed(anyhow::anyhow!(
            "{} differs from {}, so readers go on with {}. If it should, `fleetlog generations promote {} --accept \
             {difference}` accepts exactly this",
            report.generation,
            report.proof.live.0,
            report.proof.live.0,
            report.generation
        ))),
    }
}

/// Where generations are changed, and by whom.
pub(crate) fn access(kafka: &KafkaArgs, database: &ProjectorDatabase) -> Result<Access, Failure> {
    Ok(Access {
        log: kafka.log()?,
        pool: database.pool(CONNECTIONS)?,
        owner: projector_role::owner(),
    })
}

/// Bytes, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(usize);

impl Size {
    /// These bytes, if so many workers can keep within them.
    pub(crate) fn enough_for(self, workers: u16) -> Result<usize, Failure> {
        let least = least_memory(workers.into());
        if self.0 < least {
            return Err(Failure::usage(format!(
                "--memory {} is too little: with --workers {workers} a rebuild takes {} at the least",
                HumanBytes(self.0 as u64),
                HumanBytes(least as u64)
            )));
        }
        Ok(self.0)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is no size: write e.g. 512MB, 2GB or 1GiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "" | "b" => 1,
            _ => return Err(wanted()),
        };
        let number: u64 = number.parse().map_err(|_| wanted())?;
        let bytes = number.checked_mul(factor).ok_or_else(wanted)?;
        usize::try_from(bytes).map(Self).map_err(|_| wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("512MB", 512_000_000),
            ("1GiB", 1 << 30),
            ("64 mib", 64 << 20),
            ("33554432", 32 << 20),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "-1GB", "1TBX", "99999999999999999GB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
