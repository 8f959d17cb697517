//! `fleetlog dead-letters show`.

use clap::Args;
use schema::{Base64, DeadLetter, EventId};
use serde_json::{Value, json};
use stream::{Position, RawRecord};

use super::letters::{self, Held, Kind, Letter, Letters, held};
use crate::{
    config::{KafkaArgs, ReaderDatabase},
    failure::Failure,
    output,
};

/// Shows a dead letter whole: why, since when, how often it was tried, and what was sent
///
/// The headers that are shown are those that may be kept: never one that a credential travels in.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog dead-letters show 6f9619ff-8b86-4d01-b42d-00cf4fc964ff
  fleetlog dead-letters show device-events.v1/3@17
  fleetlog dead-letters show 6f9619ff-8b86-4d01-b42d-00cf4fc964ff --body > body.bin")]
pub(crate) struct Show {
    /// The letter, as `fleetlog dead-letters list` shows it
    #[arg(value_name = "LETTER")]
    letter: String,
    /// Print the body byte for byte, and nothing else
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// Print one JSON object, with the body as base64
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What was sent.
struct Contents {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Show {
    /// Shows it.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (letter, contents) = if let Ok(id) = self.letter.parse::<EventId>() {
            self.delivery(id).await?
        } else {
            self.event().await?
        };
        if self.body {
            let contents = contents.ok_or_else(|| expired(&letter))?;
            return output::bytes_alone(&contents.body);
        }
        if self.json {
            let mut shown = letter.json();
            if let Some(contents) = contents {
                shown["headers"] = contents
                    .headers
                    .iter()
                    .map(|(name, value)| json!([name, value]))
                    .collect();
                shown["body_base64"] = String::from(Base64(contents.body)).into();
            }
            return output::json(&shown);
        }
        let shown = letter.json();
        let rows: Vec<_> = shown
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| [name.clone(), plain(value)])
            .collect();
        output::table(["letter", &letter.id], &rows)?;
        let Some(contents) = contents else {
            return output::line(format!("\n{}", expired(&letter)));
        };
        output::line("")?;
        let headers: Vec<_> = contents
            .headers
            .into_iter()
            .map(|(name, value)| [name, value])
            .collect();
        output::table(["header", ""], &headers)?;
        match String::from_utf8(contents.body) {
            Ok(text) => output::line(format!("\n{}", visible(&text))),
            Err(bytes) => output::line(format!(
                "\n{} bytes that are no text; --body prints them",
                bytes.as_bytes().len()
            )),
        }
    }

    async fn delivery(&self, id: EventId) -> Result<(Letter, Option<Contents>), Failure> {
        let letters = Letters::open(self.kafka.log()?).await?;
        let all = letters.deliveries().await?;
        let letter = all.into_iter().find(|letter| letter.id == id.to_string());
        let letter = letter.ok_or_else(|| unknown(&self.letter))?;
        let mut found: Option<Box<DeadLetter>> = None;
        letters
            .read(async |batch| {
                for raw in batch.iter().filter(|raw| raw.position() == letter.position) {
                    if let Held::Letter(letter) = held(&raw) {
                        found = Some(letter);
                    }
                }
                Ok(())
            })
            .await?;
        let contents = found.map(|found| Contents {
            headers: found.headers,
            body: found.body,
        });
        Ok((letter, contents))
    }

    async fn event(&self) -> Result<(Letter, Option<Contents>), Failure> {
        let pool = self.database.pool()?;
        let all = letters::events(&pool).await?;
        let letter = all.into_iter().find(|letter| letter.id == self.letter);
        let letter = letter.ok_or_else(|| unknown(&self.letter))?;
        let kept = projector::dead_letters::record(&pool, letter.position).await?;
        let record = match kept {
            Some(record) => Some(record),
            None => in_the_log(&self.kafka, letter.position).await?,
        };
        let contents = record.map(|record| Contents {
            headers: record
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_deref().unwrap_or_default());
                    (name.clone(), value.into_owned())
                })
                .collect(),
            body: record.value.unwrap_or_default(),
        });
        Ok((letter, contents))
    }
}

/// A record of the log, if it is still there.
async fn in_the_log(kafka: &KafkaArgs, position: Position) -> Result<Option<RawRecord>, Failure> {
    let config = kafka.log()?;
    let log = stream::topics::identify(&config).await?;
    let range = stream::Range {
        topic: position.topic,
        partition: position.partition,
        from: position.offset,
        to: position.offset + 1,
    };
    let mut scan = stream::Scan::open(&config, &log, &[range], stream::ScanOptions::default())?;
    match scan.next_raw().await {
        Ok(batch) => Ok(batch.and_then(|batch| batch.get(0).map(|raw| raw.to_record()))),
        Err(stream::ReadError::OutOfRange { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unknown(letter: &str) -> Failure {
    Failure::not_found(format!(
        "there is no dead letter {letter}: `fleetlog dead-letters list --all` lists them; a delivery expires after 90 \
         days, and events are listed of the generation that readers see"
    ))
}

fn expired(letter: &Letter) -> Failure {
    let what = match letter.kind {
        Kind::Delivery => "the delivery",
        Kind::Event => "the record",
    };
    Failure::not_found(format!("{what} has expired in the log, and is kept nowhere else"))
}

/// A text without what would move a terminal's cursor.
fn visible(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
