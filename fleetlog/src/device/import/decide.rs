//! What is done with a record, given what is known of its device.

use std::collections::BTreeMap;

use schema::{Body, DeviceId, DeviceRegistered, Extra, Fields, OrganizationId, Serial, Subject};

use super::{refusal::Refusal, wish::Wish};
use crate::device::{
    change::Edit,
    fields::{Shown, Strategies},
    named::Known,
};

/// What is done with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nobody knows the device: it is registered, with these fields.
    Register(DeviceId, Fields),
    /// These fields change.
    Edit(DeviceId, Edit),
    /// All shows as it is wanted.
    Unchanged(DeviceId),
}

/// The devices that a record may mean: those that show its serial number, and the one whose id follows from it.
pub(super) fn meant<'a>(wish: &Wish, organization: OrganizationId, known: &'a [Known]) -> Meant<'a> {
    let own = DeviceId::of_serial(organization, &wish.serial);
    Meant {
        own,
        show_it: known
            .iter()
            .filter(|known| known.serial == wish.serial.as_str())
            .collect(),
        formerly: known
            .iter()
            .find(|known| known.id == own && known.serial != wish.serial.as_str()),
    }
}

/// The devices that a record may mean.
pub(super) struct Meant<'a> {
    own: DeviceId,
    show_it: Vec<&'a Known>,
    formerly: Option<&'a Known>,
}

/// Decides what is done with a record.
pub(super) fn decide(
    wish: &Wish,
    meant: &Meant<'_>,
    shown: &BTreeMap<DeviceId, Shown>,
    strategies: &Strategies,
) -> Result<Decision, Refusal> {
    let refuse = |reason: String, advice: &str| Err(Refusal::new(wish.line, reason, advice).of(&wish.serial));
    let serial = &wish.serial;
    let known = match meant.show_it.as_slice() {
        [_, _, ..] => {
            let ids: Vec<_> = meant.show_it.iter().map(|known| known.id.to_string()).collect();
            return refuse(
                format!("several devices show {serial}: {}", ids.join(", ")),
                "edit the one that is meant by its id: `fleetlog device edit ID`",
            );
        }
        [known] => known,
        [] => {
            return match meant.formerly {
                Some(now) => refuse(
                    format!("{serial} is now called {} by its cloud", now.serial),
                    "write the serial number that it shows now",
                ),
                None => Ok(Decision::Register(meant.own, registered(wish))),
            };
        }
    };
    if let Some(at) = known.retired_at {
        return refuse(
            format!("{serial} is retired since {at}"),
            "put it back into service with `fleetlog device restore`, or leave it out",
        );
    }
    let none = Shown::default();
    let shown = shown.get(&known.id).unwrap_or(&none);
    Ok(match Edit::of(&wish.fields, shown, strategies) {
        Some(edit) => Decision::Edit(known.id, edit),
        None => Decision::Unchanged(known.id),
    })
}

/// The fields of a new device, but for those that say nothing.
fn registered(wish: &Wish) -> Fields {
    let fields = wish
        .fields
        .iter()
        .map(|(field, value)| (field.to_string(), value.clone()));
    let says = |(field, value): &(String, _)| !Shown::default().shows(field, value);
    Fields(fields.filter(says).collect())
}

impl Decision {
    /// How it is called in reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Register(..) => "registered",
            Self::Edit(..) => "edited",
            Self::Unchanged(_) => "unchanged",
        }
    }

    /// The device.
    pub(super) fn device(&self) -> DeviceId {
        match self {
            Self::Register(device, _) | Self::Edit(device, _) | Self::Unchanged(device) => *device,
        }
    }

    /// The fields it sets.
    pub(super) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Register(_, fields) => fields.0.keys().map(String::as_str).collect(),
            Self::Edit(_, edit) => edit.changes.iter().map(|change| change.field.as_str()).collect(),
            Self::Unchanged(_) => Vec::new(),
        }
    }

    /// Of whom it speaks, what it says, and when all that was seen for it happened; nothing if nothing is to be said.
    pub(super) fn into_body(
        self,
        serial: Serial,
        author: &str,
        reason: Option<&str>,
    ) -> Option<(Subject, Body, Vec<schema::Micros>)> {
        match self {
            Self::Register(device, fields) => {
                let body = DeviceRegistered {
                    serial,
                    fields,
                    author: author.to_owned(),
                    reason: reason.map(str::to_owned),
                    extra: Extra::new(),
                };
                Some((Subject::Device(device), Body::DeviceRegistered(body), Vec::new()))
            }
            Self::Edit(device, mut edit) => {
                let seen = std::mem::take(&mut edit.seen_at);
                let body = edit.body(serial, author, reason);
                Some((Subject::Device(device), Body::DeviceEdited(body), seen))
            }
            Self::Unchanged(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::{Field, RawJson};
    use uuid::Uuid;

    use super::*;

    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));

    fn wish(name: &str) -> Wish {
        let text = |text: &str| RawJson::parse(text).unwrap();
        Wish {
            line: 3,
            serial: Serial::new("S").unwrap(),
            fields: [
                (Field::Name, text(&format!("\"{name}\""))),
                (Field::Notes, text("null")),
                (Field::Tag("t".to_owned()), text("false")),
            ]
            .into(),
        }
    }

    fn known(id: DeviceId, serial: &str) -> Known {
        Known {
            id,
            organization: ORGANIZATION,
            serial: serial.to_owned(),
            retired_at: None,
        }
    }

    fn check(wish: &Wish, known: &[Known]) -> Result<Decision, Refusal> {
        decide(
            wish,
            &meant(wish, ORGANIZATION, known),
            &BTreeMap::new(),
            &Strategies::new(),
        )
    }

    fn own() -> DeviceId {
        DeviceId::of_serial(ORGANIZATION, &Serial::new("S").unwrap())
    }

    #[test]
    fn a_new_device_is_registered_with_what_is_said_of_it() {
        let decision = check(&wish("n"), &[]).unwrap();
        assert_eq!((decision.name(), decision.device()), ("registered", own()));
        assert_eq!(decision.fields(), ["name"]);
    }

    #[test]
    fn a_known_device_is_edited_where_it_differs_and_whatever_its_id() {
        let other = DeviceId(Uuid::from_u128(9));
        let decision = check(&wish("n"), &[known(other, "S")]).unwrap();
        assert_eq!((decision.name(), decision.device()), ("edited", other));
        let nothing = Wish {
            fields: BTreeMap::new(),
            ..wish("n")
        };
        assert_eq!(
            check(&nothing, &[known(other, "S")]).unwrap(),
            Decision::Unchanged(other)
        );
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_with_what_to_do() {
        let two = [known(own(), "S"), known(DeviceId(Uuid::from_u128(9)), "S")];
        assert!(check(&wish("n"), &two).unwrap_err().advice.contains("by its id"));
        let renamed = check(&wish("n"), &[known(own(), "NEW")]).unwrap_err();
        assert!(renamed.reason.contains("NEW"), "{renamed:?}");
        let mut retired = known(own(), "S");
        retired.retired_at = Some(schema::Micros::MIN);
        assert!(
            check(&wish("n"), &[retired])
                .unwrap_err()
                .advice
                .contains("restore")
        );
    }
}
