//! `fleetlog conflicts show`: one conflict, with what each decision would do.

use clap::Args;
use schema::{Micros, RawJson};

use super::{
    pending::{Pending, REAPPEARED, Wanted},
    sql,
};
use crate::{config::ReaderDatabase, failure::Failure, output};

/// Shows a conflict: both sides, what they last agreed on, who and when, and what each decision would do
///
/// Of one that was decided already it shows the decision.
#[derive(Args)]
pub(crate) struct Show {
    /// The conflict, as `fleetlog conflicts list` shows it
    #[arg(value_name = "CONFLICT")]
    conflict: String,
    /// Print the columns of fleet.conflicts as one JSON object; of fleet.conflict_history if it was decided
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
}

impl Show {
    /// Shows it.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let wanted = Wanted {
            ids: Some(vec![self.conflict.clone()]),
            ..Wanted::default()
        };
        if let Some(pending) = sql::pending(&pool, &wanted, 1).await?.pop() {
            if self.json {
                return output::line(&pending.row);
            }
            let linked = sql::linked(&pool, &pending.provider_devices).await?;
            let devices = sql::devices(&pool, &pending.devices).await?;
            let facts = facts(&pending, &devices, &linked);
            output::table(["conflict", &pending.conflict], &facts)?;
            output::line("")?;
            return output::table(["decision", "then"], &decisions(&pending));
        }
        match sql::decided(&pool, std::slice::from_ref(&self.conflict))
            .await?
            .pop()
        {
            Some(decided) if self.json => output::line(&decided.row),
            Some(decided) => output::table(["conflict", &decided.conflict], &told(&decided)),
            None => Err(not_pending(&self.conflict)),
        }
    }
}

/// There is no such conflict.
pub(super) fn not_pending(conflict: &str) -> Failure {
    Failure::not_found(format!(
        "there is no conflict {conflict}: one side may have said something else since; `fleetlog conflicts list` \
         lists those that wait"
    ))
}

fn fact(what: &str, value: impl Into<String>) -> [String; 2] {
    [what.to_owned(), value.into()]
}

fn text(value: Option<&RawJson>) -> &str {
    value.map_or("null", RawJson::get)
}

fn facts(pending: &Pending, devices: &[sql::Questioned], linked: &[sql::Linked]) -> Vec<[String; 2]> {
    let at = |at: Option<Micros>| output::or_dash(at);
    let mut facts = vec![
        fact("kind", &pending.kind),
        fact("serial", &pending.serial),
        fact("since", at(pending.opened_at)),
    ];
    facts.extend(devices.iter().map(|device| {
        let registered = device.registered_at.map(Micros::from);
        let here = registered.map_or_else(
            || "not registered here".to_owned(),
            |at| format!("registered here at {at}"),
        );
        let name = if device.name == device.serial {
            String::new()
        } else {
            format!(" ({})", device.name)
        };
        fact(
            "device",
            format!("{}  {}{name}, {here}", device.id, device.serial),
        )
    }));
    if let Some(field) = &pending.field {
        let author = output::or_dash(pending.edit_author.as_ref());
        facts.extend([
            fact("field", field),
            fact(
                "here",
                format!(
                    "{}  by {author} at {}",
                    text(pending.local.as_ref()),
                    at(pending.edited_at)
                ),
            ),
            fact(
                "cloud",
                format!(
                    "{}  observed at {}",
                    text(pending.remote.as_ref()),
                    at(pending.remote_at)
                ),
            ),
            fact("both had", text(pending.base.as_ref())),
            fact("strategy", output::or_dash(pending.strategy.as_ref())),
        ]);
    }
    facts.extend(linked.iter().map(|linked| {
        let name = output::or_dash(linked.name.as_ref());
        let device = output::or_dash(linked.device);
        let via = output::or_dash(linked.via.as_ref());
        let heard = output::or_dash(linked.last_report_at.map(Micros::from));
        fact(
            "provider device",
            format!(
                "{}  called {name}, is {device} ({via}), last heard {heard}",
                linked.provider_device
            ),
        )
    }));
    facts
}

fn decisions(pending: &Pending) -> Vec<[String; 2]> {
    if pending.is_of_field() {
        let (local, remote) = (text(pending.local.as_ref()), text(pending.remote.as_ref()));
        return vec![
            fact(
                "--keep-local",
                format!("it shows {local}, which is sent to the cloud again"),
            ),
            fact(
                "--keep-remote",
                format!("it shows {remote}; the edit is given up"),
            ),
            fact("--value JSON", "it shows that value, which is sent to the cloud"),
        ];
    }
    let one = match pending.device {
        None => "all provider devices are the device that --to names".to_owned(),
        Some(device) if pending.devices.len() > 1 => format!(
            "all provider devices are device {device}, or the one that --to names, whatever their names say"
        ),
        Some(device) => format!("all provider devices are device {device}, whatever their names say"),
    };
    let mut decisions = vec![
        fact("--same-device", one),
        fact(
            "--create-duplicate",
            format!(
                "the one that --provider-device names is a second device under serial number {}",
                pending.serial
            ),
        ),
    ];
    if pending.kind == REAPPEARED
        && let Some(device) = pending.device
    {
        decisions.push(fact(
            &format!("fleetlog device retire {device}"),
            "it is the same device, out of service",
        ));
    }
    decisions
}

fn told(decided: &sql::Decided) -> Vec<[String; 2]> {
    vec![
        fact("serial", output::or_dash(decided.serial.as_ref())),
        fact("field", output::or_dash(decided.field.as_ref())),
        fact("decided", &decided.decision),
        fact("by", &decided.author),
        fact("at", Micros::from(decided.at).to_string()),
        fact("why", output::or_dash(decided.reason.as_ref())),
    ]
}
