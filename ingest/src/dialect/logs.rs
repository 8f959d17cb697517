//! Device logs, which arrive as stream data: `{level, module, msg}`, one or an array of them.

use schema::{Claimant, Extra, Fields, LogEntry, LogReceived, Micros, RawJson, believe};

use crate::payload::{Names, Object, Part, own_time, parts};

/// Log entries of one payload.
pub(super) struct Entries {
    /// All of them.
    pub(super) body: LogReceived,
    /// The time of a single entry, believed or not.
    pub(super) single_time: Option<Micros>,
    /// Whether each says its own time.
    pub(super) all_timed: bool,
}

/// Reads log entries; `None` if any part of the payload is none, since then all of it stays a reading.
pub(super) fn read(text: &str, time_field: Option<&str>, received: Micros) -> Option<Entries> {
    let parts = parts(text)?;
    let mut entries = Vec::with_capacity(parts.len());
    let mut names = Names::default();
    let mut times = Vec::with_capacity(parts.len());
    for Part { object, .. } in &parts {
        let object = object.as_ref()?;
        if let Some(name) = object.text(&["device_name"]) {
            names.hear(name);
        }
        let own = own_time(Some(object), time_field);
        times.push(own);
        entries.push(entry(object, own, received)?);
    }
    let single_time = match times.as_slice() {
        [time] => *time,
        _ => None,
    };
    let body = LogReceived {
        entries,
        device_name: names.agreed(),
        extensions: Fields::default(),
        extra: Extra::new(),
    };
    let all_timed = times.iter().all(Option::is_some);
    Some(Entries {
        body,
        single_time,
        all_timed,
    })
}

fn entry(object: &Object<'_>, own_time: Option<Micros>, received: Micros) -> Option<LogEntry> {
    let message_name = ["msg", "message"]
        .into_iter()
        .find(|name| object.any_text(name).is_some())?;
    let level = object.text_or_number(&["level"]);
    let module = object.any_text("module");
    let taken = [
        object.position(message_name),
        object.position("level").filter(|_| level.is_some()),
        object.position("module").filter(|_| module.is_some()),
    ];
    let rest = object.without(|index, _| taken.contains(&Some(index)));
    let timing = believe(own_time, Claimant::Device, received);
    Some(LogEntry {
        at: own_time.filter(|_| timing.disbelieved.is_none()),
        claimed_at: timing.disbelieved,
        level: level.map(Into::into),
        module: module.map(Into::into),
        message: object.any_text(message_name)?.into_owned(),
        metadata: match rest {
            Some(rest) => Some(RawJson::parse(&rest).ok()?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn received() -> Micros {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_no_level_module_or_message_is_metadata() {
        let sent = r#"{"level":"warn","msg":"flash full","module":"fs","free": 1.50,"message":"again"}"#;
        let entries = read(sent, None, received()).unwrap().body.entries;
        let [entry] = entries.as_slice() else {
            panic!("one entry was sent")
        };
        assert_eq!(entry.level.as_deref(), Some("warn"));
        assert_eq!(entry.module.as_deref(), Some("fs"));
        assert_eq!(entry.message, "flash full");
        assert_eq!(
            entry.metadata.as_ref().unwrap().get(),
            r#"{"free":1.50,"message":"again"}"#
        );
    }

    #[test]
    fn an_entry_without_a_message_leaves_everything_a_reading() {
        assert!(read(r#"[{"msg":"a"},{"level":"info"}]"#, None, received()).is_none());
        assert!(read(r#""a""#, None, received()).is_none());
        assert!(read(r#"{"msg":7}"#, None, received()).is_none());
    }

    #[test]
    fn entries_of_one_payload_stay_together_and_may_say_their_own_times() {
        let sent = r#"[{"msg":"a","t":1780271990},{"msg":"b","t":1780271991}]"#;
        let entries = read(sent, Some("t"), received()).unwrap();
        assert!(entries.all_timed && entries.single_time.is_none());
        assert_eq!(
            entries.body.entries[1].at.unwrap().to_string(),
            "2026-05-31T23:59:51.000000Z"
        );
    }

    proptest! {
        #[test]
        fn no_member_of_an_entry_is_lost(
            members in prop::collection::vec(("level|module|msg|message|x|y", "[a-z0-9]{1,6}"), 0..8),
        ) {
            let sent: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
            let sent = format!("{{{}}}", sent.join(","));
            let Some(entries) = read(&sent, None, received()) else {
                return Ok(());
            };
            let entry = &entries.body.entries[0];
            let mut kept: Vec<String> = [&entry.level, &entry.module].into_iter().flatten().cloned().collect();
            kept.push(entry.message.clone());
            if let Some(metadata) = &entry.metadata {
                let object = Object::parse(metadata.get()).unwrap();
                kept.extend(object.members().map(|(_, value)| value.get().trim_matches('"').to_owned()));
            }
            let mut said: Vec<String> = members.into_iter().map(|(_, value)| value).collect();
            kept.sort();
            said.sort();
            prop_assert_eq!(kept, said);
        }
    }
}
