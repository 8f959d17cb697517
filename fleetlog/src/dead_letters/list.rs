//! `fleetlog dead-letters list`.

use std::collections::BTreeMap;

use clap::Args;
use schema::Micros;

use super::{
    filters::Filters,
    letters::{self, Kind, Letter, Letters},
};
use crate::{
    clock,
    config::{KafkaArgs, ReaderDatabase},
    failure::Failure,
    output,
};

/// Lists dead letters, oldest first: deliveries that no event could be made of, and events that could not be folded
///
/// What was understood when it was tried again is not listed. Deliveries are kept for as long as their topic keeps them,
/// 90 days unless that was changed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog dead-letters list
  fleetlog dead-letters list --reason unknown_type --integration ID --since 24h
  fleetlog dead-letters list --kind event --json | jq .detail")]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Those too that were understood when they were tried again
    #[arg(long)]
    all: bool,
    /// Print only how many there are of each kind, reason and integration
    #[arg(long)]
    count: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl List {
    /// Lists them.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let now = clock::now();
        let mut letters = Vec::new();
        if self.filters.want_deliveries() {
            letters = Letters::open(self.kafka.log()?).await?.deliveries().await?;
        }
        if self.filters.want_events() {
            letters.extend(letters::events(&self.database.pool()?).await?);
        }
        letters.retain(|letter| (self.all || letter.redriven.is_none()) && self.filters.want(letter, now));
        letters.sort_by_key(|letter| letter.received_at);
        if self.count {
            return self.print_counts(&letters);
        }
        if self.json {
            return letters.iter().try_for_each(|letter| output::json(&letter.json()));
        }
        let rows: Vec<_> = letters.iter().map(row).collect();
        output::table(
            [
                "id",
                "received",
                "reason",
                "detail",
                "integration",
                "tried",
                "since",
            ],
            &rows,
        )
    }

    fn print_counts(&self, letters: &[Letter]) -> Result<(), Failure> {
        let mut counts: BTreeMap<(Kind, &str, String), (u64, Micros)> = BTreeMap::new();
        for letter in letters {
            let key = (
                letter.kind,
                letter.reason.as_str(),
                output::or_dash(letter.integration),
            );
            let (n, _) = counts.entry(key).or_insert((0, letter.received_at));
            *n += 1;
        }
        if self.json {
            return counts.into_iter().try_for_each(|((kind, reason, integration), (n, oldest))| {
                output::json(&serde_json::json!({
                    "kind": name(kind), "reason": reason, "integration": integration, "n": n, "oldest": oldest,
                }))
            });
        }
        let rows: Vec<_> = counts
            .into_iter()
            .map(|((kind, reason, integration), (n, oldest))| {
                [
                    n.to_string(),
                    name(kind).to_owned(),
                    reason.to_owned(),
                    integration,
                    oldest.to_string(),
                ]
            })
            .collect();
        output::table(["letters", "kind", "reason", "integration", "oldest"], &rows)
    }
}

fn row(letter: &Letter) -> [String; 7] {
    let settled = letter.redriven.as_ref();
    [
        letter.id.clone(),
        letter.received_at.to_string(),
        letter.reason.clone(),
        letter.detail.chars().take(80).collect(),
        output::or_dash(letter.integration),
        letter.attempts.to_string(),
        settled.map_or_else(
            || letter.failed_at.to_string(),
            |(at, author)| format!("understood {at} by {author}"),
        ),
    ]
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Delivery => "delivery",
        Kind::Event => "event",
    }
}
