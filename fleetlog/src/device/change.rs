//! From what somebody wants of a device to an edit: what they saw, and who wins if the cloud has changed it as well.

use std::collections::BTreeMap;

use schema::{DeviceEdited, Extra, Field, FieldChange, Micros, RawJson, Seen, Serial, Strategy};

use super::fields::{Shown, Strategies};

/// What somebody wants of fields.
pub(crate) type Wanted = BTreeMap<Field, RawJson>;

/// An edit to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) changes: Vec<FieldChange>,
    /// The pending conflicts that it decides.
    pub(crate) resolves: Vec<String>,
    /// When all that its author saw happened.
    pub(crate) seen_at: Vec<Micros>,
}

impl Edit {
    /// The changes that are needed to show what is wanted; none if it shows already.
    ///
    /// A value that is shown while a conflict about it is pending is a decision, so it is a change.
    pub(crate) fn of(wanted: &Wanted, shown: &Shown, strategies: &Strategies) -> Option<Self> {
        let mut edit = Self {
            changes: Vec::new(),
            resolves: Vec::new(),
            seen_at: Vec::new(),
        };
        for (field, value) in wanted {
            let name = field.to_string();
            let now = shown.fields.get(&name);
            let conflict = now.and_then(|now| now.conflict.clone());
            if conflict.is_none() && shown.shows(&name, value) {
                continue;
            }
            edit.resolves.extend(conflict);
            edit.seen_at.extend(now.and_then(|now| now.remote_at));
            edit.seen_at.extend(now.and_then(|now| now.edit_at));
            edit.changes.push(FieldChange {
                value: value.clone(),
                seen: now.map_or_else(Seen::default, |now| Seen {
                    remote: now.remote.clone(),
                    remote_at: now.remote_at,
                    edit: now.edit,
                }),
                strategy: strategy(&name, shown, strategies),
                field: name,
            });
        }
        (!edit.changes.is_empty()).then_some(edit)
    }

    /// What the event says.
    pub(crate) fn body(self, serial: Serial, author: &str, reason: Option<&str>) -> DeviceEdited {
        DeviceEdited {
            serial,
            changes: self.changes,
            resolves: self.resolves,
            author: author.to_owned(),
            reason: reason.map(str::to_owned),
            extra: Extra::new(),
        }
    }
}

/// Who wins: as the integration says that reports the field, else the only one that knows the device; else a person,
/// save for tags, which merge.
fn strategy(field: &str, shown: &Shown, strategies: &Strategies) -> Strategy {
    let reports = shown.fields.get(field).and_then(|field| field.remote_integration);
    let only = || match shown.integrations.as_slice() {
        [only] => Some(*only),
        [] | [_, _, ..] => None,
    };
    let said = reports
        .or_else(only)
        .and_then(|integration| strategies.get(&integration));
    let is_tag = Field::is_tag_name(field);
    let said = said.and_then(|said| said.get(field).or_else(|| said.get("tags").filter(|_| is_tag)));
    said.cloned()
        .unwrap_or_else(|| projector::fold::default_strategy(field))
}

#[cfg(test)]
mod tests {
    use schema::{EventId, IntegrationId};
    use uuid::Uuid;

    use super::{super::fields, *};

    const INTEGRATION: IntegrationId = IntegrationId(Uuid::from_u128(1));

    fn raw(text: &str) -> RawJson {
        RawJson::parse(text).unwrap()
    }

    fn at(seconds: i64) -> Micros {
        Micros::from_micros(seconds * 1_000_000).unwrap()
    }

    fn reported(value: &str, seconds: i64) -> fields::Field {
        fields::Field {
            state: "remote".to_owned(),
            value: Some(raw(value)),
            remote: Some(raw(value)),
            remote_at: Some(at(seconds)),
            remote_integration: Some(INTEGRATION),
            edit: None,
            edit_at: None,
            conflict: None,
        }
    }

    fn shown(field: &str, row: fields::Field) -> Shown {
        Shown {
            fields: BTreeMap::from([(field.to_owned(), row)]),
            integrations: vec![INTEGRATION],
        }
    }

    fn wanted(field: &str, value: &str) -> Wanted {
        BTreeMap::from([(Field::parse(field).unwrap(), raw(value))])
    }

    #[test]
    fn what_shows_already_is_no_change() {
        let none = Strategies::new();
        let metadata = shown("metadata", reported(r#"{"a":1,"b":2}"#, 5));
        assert_eq!(
            Edit::of(&wanted("metadata", r#"{"b": 2, "a": 1}"#), &metadata, &none),
            None
        );
        assert_eq!(
            Edit::of(&wanted("notes", "null"), &metadata, &none),
            None,
            "missing is null"
        );
        assert_eq!(
            Edit::of(&wanted("tag:x", "false"), &metadata, &none),
            None,
            "no tag is false"
        );
        assert!(Edit::of(&wanted("metadata", "null"), &metadata, &none).is_some());
    }

    #[test]
    fn an_edit_carries_what_its_author_saw_and_who_wins() {
        let mut row = reported(r#""v1""#, 5);
        row.edit = Some(EventId(Uuid::from_u128(7)));
        row.edit_at = Some(at(9));
        let strategies = Strategies::from([(
            INTEGRATION,
            BTreeMap::from([("blueprint".to_owned(), Strategy::PreferRemote)]),
        )]);
        let edit = Edit::of(
            &wanted("blueprint", r#""v2""#),
            &shown("blueprint", row),
            &strategies,
        )
        .unwrap();
        let [change] = edit.changes.as_slice() else {
            panic!("{edit:?}");
        };
        assert_eq!(change.seen.remote, Some(raw(r#""v1""#)));
        assert_eq!(
            (change.seen.remote_at, change.seen.edit),
            (Some(at(5)), Some(EventId(Uuid::from_u128(7))))
        );
        assert_eq!(change.strategy, Strategy::PreferRemote);
        assert_eq!(edit.seen_at, [at(5), at(9)]);
    }

    #[test]
    fn without_a_word_a_person_decides_and_tags_merge() {
        let strategy = |field: &str, strategies: &Strategies| {
            let shown = Shown {
                integrations: vec![INTEGRATION],
                ..Shown::default()
            };
            strategy(field, &shown, strategies)
        };
        let none = Strategies::new();
        assert_eq!(strategy("metadata", &none), Strategy::Manual);
        assert_eq!(strategy("tag:a", &none), Strategy::Merge);
        let tags = BTreeMap::from([("tags".to_owned(), Strategy::PreferLocal)]);
        let said = Strategies::from([(INTEGRATION, tags)]);
        assert_eq!(strategy("tag:a", &said), Strategy::PreferLocal);
        assert_eq!(strategy("metadata", &said), Strategy::Manual);
    }

    #[test]
    fn to_take_the_clouds_side_of_a_conflict_is_a_change() {
        let row = fields::Field {
            state: "conflict".to_owned(),
            conflict: Some("c1".to_owned()),
            ..reported("true", 5)
        };
        let edit = Edit::of(
            &wanted("enabled", "true"),
            &shown("enabled", row),
            &Strategies::new(),
        )
        .unwrap();
        assert_eq!(edit.resolves, ["c1"]);
    }
}
