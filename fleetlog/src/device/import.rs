//! `fleetlog device import`: many devices from a file.

mod csv;
mod decide;
mod lines;
mod refusal;
mod report;
mod wish;
mod wishes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use schema::{DeviceId, Event, OrganizationId, Topic};
use sqlx::PgPool;
use stream::{Appender, Position};

use self::{
    decide::{Decision, decide, meant},
    report::Report,
    wish::Wish,
    wishes::{Format, Unusable, Wishes},
};
use super::{
    fields::{self, Strategies},
    sql,
};
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    decided::{self, Concern},
    failure::Failure,
    waiting::Waiting,
};

/// Records that are looked up and appended together.
const BATCH: usize = 500;

/// Registers devices from a file, and edits what it says otherwise of those that are known
///
/// Each record has a serial number, and any of name, notes, location, metadata, enabled, blueprint, tags (ids to be
/// added) and tag:ID (true or false). An empty cell says nothing. What cannot be imported is refused with its line, the
/// reason and what to do; all other records are imported. To repeat an import is safe: what shows already is left
/// alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device import fleet.csv --organization ID --dry-run
  fleetlog device import fleet.csv --organization ID --report refused.jsonl
  fleetlog device import - --format json-lines --organization ID < fleet.jsonl

A file fleet.csv; in a cell with commas or quotes, quotes go around it and are doubled within:
  serial,name,notes,metadata,tags
  C252400001,North gate,on the mast,\"{\"\"site\"\": \"\"north\"\"}\",65b0;65b1
  C252400002,South gate,,,

The same as fleet.jsonl; here null takes a value away:
  {\"serial\": \"C252400001\", \"name\": \"North gate\", \"metadata\": {\"site\": \"north\"}, \"tags\": [\"65b0\", \"65b1\"]}
  {\"serial\": \"C252400002\", \"name\": \"South gate\", \"notes\": null}

Ends with 1 if any record was refused.")]
pub(crate) struct Import {
    /// The file, or - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Whose devices they are
    #[arg(long, value_name = "ID")]
    organization: OrganizationId,
    /// How it is written [default: what the file's name ends in, .csv or .jsonl]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Pass over this column or field; may be repeated
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Keep what is refused in this file: a JSON object a line, with line, serial, reason and advice
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Why, for all of them
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
    /// Print the count as one JSON object; of a dry run, before it an object for each record
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Where records come from and go to.
struct Importing<'a> {
    command: &'a Import,
    pool: PgPool,
    strategies: Strategies,
    /// None of a dry run.
    appender: Option<Appender>,
    /// Of each partition the last position appended to.
    appended: BTreeMap<(Topic, i32), Position>,
    report: Report,
}

impl Import {
    /// Reads, appends, waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let unusable = |error: Unusable| match error {
            Unusable::Io(_) => Failure::usage(format!("{}: {error}", self.file.display())),
            Unusable::Header(_) | Unusable::TooMany => {
                Failure::refused(format!("{}: {error}", self.file.display()))
            }
        };
        let (reader, n_bytes) = open(&self.file).map_err(|error| unusable(error.into()))?;
        let ignored: BTreeSet<_> = self.ignore.iter().cloned().collect();
        let mut wishes = Wishes::open(reader, self.format()?, ignored).map_err(unusable)?;
        let pool = self.database.pool()?;
        sql::organization_exists(&pool, self.organization).await?;
        let strategies = fields::strategies(&pool, self.organization).await?;
        let appender = if self.dry_run {
            None
        } else {
            Some(decided::appender(&self.kafka).await?)
        };
        let report = Report::new(self.report.as_deref(), n_bytes, self.dry_run, self.json)?;
        let mut importing = Importing {
            command: &self,
            pool,
            strategies,
            appender,
            appended: BTreeMap::new(),
            report,
        };
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let read = wishes.next().map_err(unusable)?;
            let ended = read.is_none();
            match read {
                Some(Ok(wish)) => batch.push(wish),
                Some(Err(refusal)) => importing.report.refuse(refusal)?,
                None => {}
            }
            if ended || batch.len() == BATCH {
                importing.import(&batch).await?;
                importing.report.at(wishes.n_bytes());
                batch.clear();
            }
            if ended {
                return importing.end().await;
            }
        }
    }

    fn format(&self) -> Result<Format, Failure> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let extension = self.file.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
            Some(_) | None => Err(Failure::usage(format!(
                "{} does not say how it is written: --format csv or --format json-lines does",
                self.file.display()
            ))),
        }
    }
}

impl Importing<'_> {
    /// Imports some records.
    async fn import(&mut self, wishes: &[Wish]) -> Result<(), Failure> {
        let events = self.decide(wishes).await?;
        let Some(appender) = &self.appender else {
            return Ok(());
        };
        let outcome = appender.append_all(&events).await;
        let positions = outcome.map_err(|error| {
            let lines = wishes.first().zip(wishes.last()).map(|(first, last)| (first.line, last.line));
            let (first, last) = lines.unwrap_or_default();
            Failure::unavailable(format!(
                "{error}. Lines before {first} are imported, lines {first} to {last} may be: import the file again"
            ))
        })?;
        for position in positions {
            let last = self
                .appended
                .entry((position.topic, position.partition))
                .or_insert(position);
            *last = position.max(*last);
        }
        Ok(())
    }

    async fn decide(&mut self, wishes: &[Wish]) -> Result<Vec<Event>, Failure> {
        let organization = self.command.organization;
        let serials: Vec<_> = wishes.iter().map(|wish| wish.serial.as_str()).collect();
        let own: Vec<_> = wishes
            .iter()
            .map(|wish| DeviceId::of_serial(organization, &wish.serial))
            .collect();
        let known = sql::known_of(&self.pool, organization, &serials, &own).await?;
        let ids: Vec<_> = known.iter().map(|known| known.id).collect();
        let names: BTreeSet<_> = wishes.iter().flat_map(|wish| wish.fields.keys()).collect();
        let names: Vec<_> = names.into_iter().map(ToString::to_string).collect();
        let shown = fields::shown(&self.pool, &ids, Some(&names)).await?;

        let now = clock::now();
        let mut events = Vec::new();
        for wish in wishes {
            let meant = meant(wish, organization, &known);
            match decide(wish, &meant, &shown, &self.strategies) {
                Err(refusal) => self.report.refuse(refusal)?,
                Ok(decision) => {
                    self.report.decided(wish, &decision)?;
                    events.extend(self.event(wish, decision, now));
                }
            }
        }
        Ok(events)
    }

    fn event(&self, wish: &Wish, decision: Decision, now: schema::Micros) -> Option<Event> {
        let (author, reason) = (self.command.author.author(), self.command.reason.as_deref());
        let (subject, body, seen) = decision.into_body(wish.serial.clone(), author, reason)?;
        let concern = Concern {
            organization: self.command.organization,
            integration: None,
            subject,
        };
        Some(decided::event(concern, body, decided::after(now, seen)))
    }

    /// Waits for a projector, and says what became of all.
    async fn end(self) -> Result<(), Failure> {
        if self.command.waiting.waits() {
            self.report.waiting();
            let positions: Vec<_> = self.appended.into_values().collect();
            self.command
                .waiting
                .until_all_folded(&self.pool, &positions)
                .await?;
        }
        self.report.end()
    }
}

/// Opens a file, with its length where it has one.
fn open(file: &Path) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(file)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let n_bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(256 * 1024, file)), n_bytes))
}
