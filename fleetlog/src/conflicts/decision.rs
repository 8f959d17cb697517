//! What can be decided about what.

use clap::Args;
use schema::{DeviceId, ProviderDevice, RawJson};

use super::pending::{Pending, SAME_SERIAL};
use crate::failure::Failure;

/// The decision, as it is written.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the command line, and one is given"
)]
pub(super) struct DecisionArgs {
    /// The edit here stands, and is sent to the cloud
    #[arg(long)]
    keep_local: bool,
    /// The cloud's value stands
    #[arg(long)]
    keep_remote: bool,
    /// Another value stands, given as JSON, and is sent to the cloud
    #[arg(long, value_name = "JSON", value_parser = json)]
    value: Option<RawJson>,
    /// All provider devices in question are one device
    #[arg(long)]
    same_device: bool,
    /// A provider device in question is a second device under this serial number
    #[arg(long)]
    create_duplicate: bool,
}

fn json(text: &str) -> Result<RawJson, String> {
    RawJson::parse(text).map_err(|error| format!("{error}; a text needs its quotes: '\"text\"'"))
}

/// What somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The edit stands.
    KeepLocal,
    /// The cloud's value stands.
    KeepRemote,
    /// Another value stands.
    Value(RawJson),
    /// The provider devices are one device.
    SameDevice,
    /// A provider device is a second device under the serial number.
    CreateDuplicate,
}

impl DecisionArgs {
    /// The one that is given.
    pub(super) fn decision(&self) -> Decision {
        if let Some(value) = &self.value {
            Decision::Value(value.clone())
        } else if self.keep_local {
            Decision::KeepLocal
        } else if self.keep_remote {
            Decision::KeepRemote
        } else if self.same_device {
            Decision::SameDevice
        } else {
            Decision::CreateDuplicate
        }
    }
}

impl Decision {
    /// As the command line and `fleet.conflict_history` name it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::KeepLocal => "keep_local",
            Self::KeepRemote => "keep_remote",
            Self::Value(_) => "value",
            Self::SameDevice => "bound",
            Self::CreateDuplicate => "create_duplicate",
        }
    }

    /// What it does, for whoever is asked to confirm it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::KeepLocal => "the edit here stands".to_owned(),
            Self::KeepRemote => "the cloud's value stands".to_owned(),
            Self::Value(value) => format!("{} stands", value.get()),
            Self::SameDevice => "the provider devices are one device".to_owned(),
            Self::CreateDuplicate => "the provider device is a second device".to_owned(),
        }
    }

    /// Whether it is about fields, rather than about identity.
    pub(super) fn is_of_fields(&self) -> bool {
        match self {
            Self::KeepLocal | Self::KeepRemote | Self::Value(_) => true,
            Self::SameDevice | Self::CreateDuplicate => false,
        }
    }

    /// Refuses what cannot be decided so.
    pub(super) fn check(&self, pending: &Pending) -> Result<(), Failure> {
        if self.is_of_fields() == pending.is_of_field() {
            return Ok(());
        }
        let (conflict, kind) = (&pending.conflict, &pending.kind);
        let instead = if pending.is_of_field() {
            "is about a field: --keep-local, --keep-remote or --value decides it"
        } else {
            "is about which device is which: --same-device or --create-duplicate decides it"
        };
        Err(Failure::refused(format!("{conflict} ({kind}) {instead}")))
    }

    /// The value that stands in the field of a conflict.
    pub(super) fn value(&self, pending: &Pending) -> RawJson {
        let kept = match self {
            Self::KeepLocal => pending.local.clone(),
            Self::KeepRemote => pending.remote.clone(),
            Self::Value(value) => Some(value.clone()),
            Self::SameDevice | Self::CreateDuplicate => None,
        };
        kept.unwrap_or_else(|| RawJson::from_value(&serde_json::Value::Null))
    }
}

/// The device that all provider devices of a conflict are.
pub(super) fn one_device(pending: &Pending, named: Option<DeviceId>) -> Result<DeviceId, Failure> {
    named.or(pending.device).ok_or_else(|| {
        Failure::usage(format!(
            "several devices show {}: --to says which one they are",
            pending.serial
        ))
    })
}

/// The provider device of a conflict that is a device of its own.
pub(super) fn duplicate(
    pending: &Pending,
    named: Option<&ProviderDevice>,
) -> Result<ProviderDevice, Failure> {
    let choices = &pending.provider_devices;
    if let Some(named) = named {
        return choices
            .iter()
            .find(|choice| *choice == named)
            .cloned()
            .ok_or_else(|| {
                Failure::refused(format!(
                    "{named} is not in question in conflict {}",
                    pending.conflict
                ))
            });
    }
    match choices.as_slice() {
        [only] => Ok(only.clone()),
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Failure::usage(format!(
                "conflict {}: --provider-device says which one is a device of its own: {}",
                pending.conflict,
                several.join(", ")
            )))
        }
    }
}

/// Whether a duplicate is a device already, rather than to be made: two devices that show one serial number are two.
pub(super) fn stays_where_it_is(pending: &Pending) -> bool {
    pending.kind == SAME_SERIAL
}
