//! What became of the records: counted, shown, and kept.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{decide::Decision, refusal::Refusal, wish::Wish};
use crate::{failure::Failure, output};

/// Most refusals that are shown as a table.
const MOST_SHOWN: usize = 50;

/// What became of the records so far.
pub(super) struct Report {
    dry_run: bool,
    json: bool,
    registered: u64,
    edited: u64,
    unchanged: u64,
    refused: u64,
    shown: Vec<Refusal>,
    kept: Option<BufWriter<File>>,
    progress: ProgressBar,
}

impl Report {
    /// A report that keeps refusals in a file, if there is one, and shows progress over these bytes.
    pub(super) fn new(
        kept: Option<&Path>,
        n_bytes: Option<u64>,
        dry_run: bool,
        json: bool,
    ) -> Result<Self, Failure> {
        let kept = kept.map(|path| {
            let file = File::create(path);
            file.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
        });
        Ok(Self {
            dry_run,
            json,
            registered: 0,
            edited: 0,
            unchanged: 0,
            refused: 0,
            shown: Vec::new(),
            kept: kept.transpose()?.map(BufWriter::new),
            progress: progress(n_bytes),
        })
    }

    /// Counts a record that is not imported.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Result<(), Failure> {
        self.refused += 1;
        if let Some(kept) = &mut self.kept {
            serde_json::to_writer(&mut *kept, &refusal).map_err(anyhow::Error::from)?;
            kept.write_all(b"\n")?;
        }
        if self.dry_run && self.json {
            let mut row = serde_json::to_value(&refusal).map_err(anyhow::Error::from)?;
            row["outcome"] = "refused".into();
            self.progress.suspend(|| output::json(&row))?;
        }
        if self.shown.len() < MOST_SHOWN {
            self.shown.push(refusal);
        }
        Ok(())
    }

    /// Counts a record; of a dry run, shows what would be done.
    pub(super) fn decided(&mut self, wish: &Wish, decision: &Decision) -> Result<(), Failure> {
        match decision {
            Decision::Register(..) => self.registered += 1,
            Decision::Edit(..) => self.edited += 1,
            Decision::Unchanged(_) => self.unchanged += 1,
        }
        if !self.dry_run {
            return Ok(());
        }
        let (what, fields) = (decision.name(), decision.fields());
        if self.json {
            let (line, device) = (wish.line, decision.device());
            let row = json!({ "line": line, "serial": wish.serial, "outcome": what, "device": device, "fields": fields });
            return self.progress.suspend(|| output::json(&row));
        }
        if let Decision::Unchanged(_) = decision {
            return Ok(());
        }
        let line = format!(
            "line {}: {} would be {what}: {}",
            wish.line,
            wish.serial,
            fields.join(", ")
        );
        let line = line.trim_end_matches([':', ' ']).to_owned();
        self.progress.suspend(|| output::line(line))
    }

    /// Shows how far it is.
    pub(super) fn at(&self, n_bytes: u64) {
        self.progress.set_position(n_bytes);
        let (done, refused) = (self.registered + self.edited + self.unchanged, self.refused);
        self.progress
            .set_message(format!("{done} records, {refused} refused"));
    }

    /// Shows that it is waited for a projector.
    pub(super) fn waiting(&self) {
        self.progress.set_message("waiting for the projector");
    }

    /// Ends with what became of the records: on stdout the count, on stderr what was refused.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.progress.finish_and_clear();
        if let Some(mut kept) = self.kept.take() {
            kept.flush()?;
        }
        // Those that were looked up among the devices come after those that could not be read.
        self.shown.sort_by_key(|refusal| refusal.line);
        self.print_refusals()?;
        let n = self.registered + self.edited + self.unchanged + self.refused;
        if self.json {
            output::json(&json!({
                "dry_run": self.dry_run, "records": n, "registered": self.registered, "edited": self.edited,
                "unchanged": self.unchanged, "refused": self.refused,
            }))?;
        } else {
            let would = if self.dry_run { "would be " } else { "" };
            output::line(format!(
                "{n} records: {would}{} registered, {} edited, {} unchanged, {} refused",
                self.registered, self.edited, self.unchanged, self.refused
            ))?;
        }
        if self.refused > 0 {
            let (refused, records) = (self.refused, if n == 1 { "record" } else { "records" });
            return Err(Failure::Failed(anyhow::anyhow!(
                "{refused} of {n} {records} refused"
            )));
        }
        Ok(())
    }

    fn print_refusals(&self) -> io::Result<()> {
        if self.shown.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self
            .shown
            .iter()
            .map(|refusal| {
                [
                    refusal.line.to_string(),
                    output::or_dash(refusal.serial.as_ref()),
                    refusal.reason.clone(),
                    refusal.advice.clone(),
                ]
            })
            .collect();
        let mut out = io::stderr().lock();
        for line in output::align(["line", "serial", "refused, since", "what to do"], &rows) {
            writeln!(out, "{line}")?;
        }
        let more = self.refused - self.shown.len() as u64;
        if more > 0 {
            writeln!(out, "and {more} more: --report FILE keeps them all")?;
        }
        Ok(())
    }
}

/// Over a file of known length a bar, else a count.
fn progress(n_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match n_bytes {
        Some(n_bytes) => (
            ProgressBar::new(n_bytes),
            "{bar:30} {bytes}/{total_bytes}, {eta} left, {msg}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {msg}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = bar.with_style(style);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
