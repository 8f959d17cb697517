//! Explanations for people, and as JSON.

use projector::fold::{
    fields::explain::{Explained, Source, Statement, Verdict},
    resolve::State,
    rows::Stored,
};
use schema::PushOutcome;
use serde_json::{Value, json};

use super::Explanation;
use crate::{
    device::{history::shortened, named::Known},
    failure::Failure,
    output,
    waiting::position_json,
};

/// How a field stands, in words.
fn state(name: &str, state: State) -> &'static str {
    match state {
        State::Remote if name == "serial" => "it is the name that a cloud has for the device",
        State::Local if name == "serial" => "no cloud has named the device yet",
        State::Remote if name == "firmware_version" => "it is the newest that was reported",
        State::Remote => "nobody edited it here",
        State::Local => "it is ours alone",
        State::Pending => "the cloud has what the author of the edit saw: the edit is to be pushed",
        State::Acknowledged => "the cloud took the edit, and has not shown it yet",
        State::Settled => "the cloud shows what the edit says",
        State::Rejected => "the cloud refused the edit",
        State::Superseded => "only the cloud has changed since both sides last agreed",
        State::Kept => "both changed, and the strategy prefers the edit: it is pushed again",
        State::Lost => "both changed, and the strategy prefers the cloud",
        State::Conflict => "both changed, and a person has to decide: `fleetlog conflicts`",
    }
}

/// What became of a statement: a word, and why.
fn verdict(verdict: Verdict) -> (&'static str, String) {
    let lost = |why: &str| ("lost", why.to_owned());
    match verdict {
        Verdict::Won => ("won", String::new()),
        Verdict::Agrees => ("agrees", "it says what is shown".to_owned()),
        Verdict::Waits => ("waits", "both changed, and a person has to decide".to_owned()),
        Verdict::Older => lost("a newer statement counts"),
        Verdict::Gone => lost("its cloud no longer has the device, another has"),
        Verdict::BeforeGone => lost("it was said before the device disappeared there and came back"),
        Verdict::Replaced(by) => ("lost", format!("edit {by} came after it")),
        Verdict::Rejected => lost("the cloud refused it"),
        Verdict::Superseded => lost("only the cloud has changed since both sides last agreed"),
        Verdict::Outweighed => lost("both changed, and the strategy prefers the other side"),
        Verdict::Overruled => lost("the name that a cloud has for the device counts"),
        Verdict::OtherPackage => lost("its integration declares another package the primary one"),
        Verdict::NothingNew => lost("it is no newer than what both sides last agreed on"),
        Verdict::Unchanged => lost("it says what both sides last agreed on, so only the edit has changed it"),
    }
}

fn source(statement: &Statement, explanation: &Explanation) -> String {
    match &statement.source {
        Source::Cloud(key) => match explanation.clouds.get(key) {
            Some(cloud) => cloud.to_string(),
            None => key.to_string(),
        },
        Source::Edit(edit) => edit.author.clone(),
        Source::Registration(author) => author.clone(),
    }
}

fn outcome(outcome: PushOutcome) -> &'static str {
    match outcome {
        PushOutcome::Accepted => "accepted",
        PushOutcome::Rejected => "rejected",
    }
}

/// A field for people.
pub(super) fn text(name: &str, explained: &Explained, explanation: &Explanation) -> Result<(), Failure> {
    let shown = &explained.shown;
    let value = shown.value.as_ref().map(|value| shortened(&value.text));
    let mut rows = vec![("shows", output::or_dash(value))];
    rows.push((
        "state",
        format!("{}: {}", <&str>::from(shown.state), state(name, shown.state)),
    ));
    if let Some(base) = &shown.base {
        let since = match (base.accepted, base.at) {
            (Some(edit), Some(at)) => format!("which the cloud took at {at} as edit {edit}"),
            (_, Some(at)) => format!("which the author of the edit saw, of {at}"),
            (_, None) => "since the author of the edit saw none".to_owned(),
        };
        rows.push(("base", format!("{}, {since}", shortened(&base.value.text))));
    }
    if let Some((_, edit)) = &shown.edit {
        rows.push(("strategy", edit.strategy.clone()));
        rows.extend(edit.reason.clone().map(|reason| ("reason", reason)));
    }
    rows.extend(
        shown
            .answer
            .map(|(answer, at)| ("answer", format!("{} at {at}", outcome(answer)))),
    );
    rows.extend(shown.conflict.clone().map(|conflict| ("conflict", conflict)));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(key, value)| [format!("  {key}"), value])
        .collect();
    output::table([name, ""], &rows)?;
    let statements: Vec<_> = explained
        .statements
        .iter()
        .map(|statement| {
            let step = explanation.trail.step(statement.key.id);
            let (word, why) = verdict(statement.verdict);
            [
                format!("  {}", statement.key.at),
                word.to_owned(),
                shortened(&statement.value.text),
                source(statement, explanation),
                output::or_dash(step.and_then(|step| step.position)),
                statement.key.id.to_string(),
                why,
            ]
        })
        .collect();
    output::line("")?;
    output::table(
        ["  said at", "", "value", "by", "in the log", "event", "why"],
        &statements,
    )?;
    output::line("")
}

/// A field as JSON.
pub(super) fn json(known: &Known, name: &str, explained: &Explained, explanation: &Explanation) -> Value {
    let shown = &explained.shown;
    let statements = explained.statements.iter().map(|statement| {
        let step = explanation.trail.step(statement.key.id);
        let (word, why) = verdict(statement.verdict);
        let side = match &statement.source {
            Source::Cloud(_) => "cloud",
            Source::Edit(_) => "edit",
            Source::Registration(_) => "registration",
        };
        json!({
            "at": statement.key.at, "sequence": statement.key.sequence, "event": statement.key.id,
            "name": step.map(|step| &step.name), "recorded_at": step.map(|step| step.recorded_at),
            "position": step.and_then(|step| step.position).map(position_json),
            "side": side, "by": source(statement, explanation), "value": parsed(&statement.value),
            "verdict": word, "why": why,
        })
    });
    json!({
        "device": known.id, "serial": known.serial, "field": name,
        "shows": shown.value.as_ref().map(parsed),
        "state": <&str>::from(shown.state), "meaning": state(name, shown.state),
        "strategy": shown.edit.as_ref().map(|(_, edit)| &edit.strategy),
        "base": shown.base.as_ref().map(|base| json!({
            "value": parsed(&base.value), "at": base.at, "from": if base.accepted.is_some() { "accepted" } else { "seen" },
            "edit": base.accepted,
        })),
        "answer": shown.answer.map(|(answer, at)| json!({ "outcome": outcome(answer), "at": at })),
        "conflict": shown.conflict,
        "statements": statements.collect::<Vec<_>>(),
    })
}

fn parsed(value: &Stored) -> Value {
    serde_json::from_str(&value.text).unwrap_or_default()
}
