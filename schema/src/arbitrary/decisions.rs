//! What people decide, and what fleetlog says of itself.

use proptest::{collection::vec, option, prelude::*, sample::select, strategy::BoxedStrategy};
use uuid::Uuid;

use super::{Parties, World, log_id, several};
use crate::{
    Body, CheckpointCompleted, CheckpointTaken, DeploymentRequested, DeploymentSettled, DeviceEdited,
    DeviceId, DeviceRegistered, DeviceRestored, DeviceRetired, EditPushed, EventId, FieldChange, Heard,
    HorizonAdvanced, IntegrationChanged, LogOpened, ProviderDeviceBound, PushOutcome, Seen,
    Strategy as Policy, SubjectErased, SyncCompleted, SyncStarted,
};

impl World {
    pub(super) fn device_registered(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let serial = Just(parties.serial.clone());
        (
            serial,
            self.fields(),
            self.text.clone(),
            self.maybe_text(),
            self.extra.clone(),
        )
            .prop_map(|(serial, fields, author, reason, extra)| {
                Body::DeviceRegistered(DeviceRegistered {
                    serial,
                    fields,
                    author,
                    reason,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn device_edited(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let strategies = vec![
            Policy::PreferLocal,
            Policy::PreferRemote,
            Policy::Manual,
            Policy::Merge,
            Policy::Other("ask".to_owned()),
        ];
        let seen = (
            option::of(self.json.clone()),
            option::of(self.instant.clone()),
            option::of(event_id()),
        )
            .prop_map(|(remote, remote_at, edit)| Seen {
                remote,
                remote_at,
                edit,
            });
        let change = (self.word.clone(), self.json.clone(), seen, select(strategies)).prop_map(
            |(field, value, seen, strategy)| FieldChange {
                field,
                value,
                seen,
                strategy,
            },
        );
        (
            Just(parties.serial.clone()),
            vec(change, 1..4),
            several(self.text.clone(), 2),
            self.text.clone(),
            self.maybe_text(),
            self.extra.clone(),
        )
            .prop_map(|(serial, changes, resolves, author, reason, extra)| {
                Body::DeviceEdited(DeviceEdited {
                    serial,
                    changes,
                    resolves,
                    author,
                    reason,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn device_retired(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let serial = Just(parties.serial.clone());
        (serial, self.text.clone(), self.maybe_text(), self.extra.clone())
            .prop_map(|(serial, author, reason, extra)| {
                Body::DeviceRetired(DeviceRetired {
                    serial,
                    author,
                    reason,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn device_restored(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let serial = Just(parties.serial.clone());
        (serial, self.text.clone(), self.maybe_text(), self.extra.clone())
            .prop_map(|(serial, author, reason, extra)| {
                Body::DeviceRestored(DeviceRestored {
                    serial,
                    author,
                    reason,
                    extra,
                })
            })
            .boxed()
    }

    /// To the device of a serial, or to a second one under it.
    pub(super) fn provider_device_bound(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let of_serial = DeviceId::of_serial(parties.organization, &parties.serial);
        let second = DeviceId::duplicate(parties.organization, &parties.serial, &parties.provider_device);
        let devices = vec![of_serial, second];
        (
            select(devices.clone()),
            option::of(Just(parties.serial.clone())),
            option::of(select(devices)),
            several(self.text.clone(), 2),
            self.text.clone(),
            self.maybe_text(),
            self.extra.clone(),
        )
            .prop_map(
                move |(device, serial, seen_device, resolves, author, reason, extra)| {
                    Body::ProviderDeviceBound(ProviderDeviceBound {
                        device,
                        serial,
                        seen_device,
                        duplicate: device == second,
                        resolves,
                        author,
                        reason,
                        extra,
                    })
                },
            )
            .boxed()
    }

    pub(super) fn edit_pushed(&self) -> BoxedStrategy<Body> {
        (
            event_id(),
            several(self.word.clone(), 2),
            select(vec![PushOutcome::Accepted, PushOutcome::Rejected]),
            option::of(self.json.clone()),
            self.extra.clone(),
        )
            .prop_map(|(edit, fields, outcome, answer, extra)| {
                Body::EditPushed(EditPushed {
                    edit,
                    fields,
                    outcome,
                    answer,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn deployment_requested(&self) -> BoxedStrategy<Body> {
        (
            self.json.clone(),
            several(self.text.clone(), 2),
            self.text.clone(),
            self.maybe_text(),
            self.extra.clone(),
        )
            .prop_map(|(target, artifacts, author, reason, extra)| {
                Body::DeploymentRequested(DeploymentRequested {
                    target,
                    artifacts,
                    author,
                    reason,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn deployment_settled(&self) -> BoxedStrategy<Body> {
        (
            self.text.clone(),
            option::of(self.json.clone()),
            self.extra.clone(),
        )
            .prop_map(|(outcome, answer, extra)| {
                Body::DeploymentSettled(DeploymentSettled {
                    outcome,
                    answer,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn sync_started(&self) -> BoxedStrategy<Body> {
        (
            self.word.clone(),
            option::of(self.instant.clone()),
            self.extra.clone(),
        )
            .prop_map(|(scope, since, extra)| Body::SyncStarted(SyncStarted { scope, since, extra }))
            .boxed()
    }

    pub(super) fn sync_completed(&self) -> BoxedStrategy<Body> {
        (
            self.word.clone(),
            self.instant.clone(),
            any::<bool>(),
            any::<u64>(),
            any::<u64>(),
            several(self.text.clone(), 2),
            self.extra.clone(),
        )
            .prop_map(
                |(scope, started_at, complete, n_read, n_appended, errors, extra)| {
                    Body::SyncCompleted(SyncCompleted {
                        scope,
                        started_at,
                        complete,
                        n_read,
                        n_appended,
                        errors,
                        extra,
                    })
                },
            )
            .boxed()
    }

    pub(super) fn integration_changed(&self) -> BoxedStrategy<Body> {
        (
            self.text.clone(),
            self.fields(),
            self.text.clone(),
            self.extra.clone(),
        )
            .prop_map(|(change, fields, author, extra)| {
                Body::IntegrationChanged(IntegrationChanged {
                    change,
                    fields,
                    author,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn subject_erased(&self) -> BoxedStrategy<Body> {
        (
            several(self.provider_device(), 2),
            self.text.clone(),
            self.text.clone(),
            self.extra.clone(),
        )
            .prop_map(|(provider_devices, scope, author, extra)| {
                Body::SubjectErased(SubjectErased {
                    provider_devices,
                    scope,
                    author,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn log_opened(&self) -> BoxedStrategy<Body> {
        (log_id(), any::<i32>(), self.text.clone(), self.extra.clone())
            .prop_map(|(log_id, partitions, partitioner, extra)| {
                Body::LogOpened(LogOpened {
                    log_id,
                    partitions,
                    partitioner,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn checkpoint_taken(&self, parties: &Parties) -> BoxedStrategy<Body> {
        let provider_device = Just(parties.provider_device.clone());
        (
            provider_device,
            self.json.clone(),
            any::<i32>(),
            0_u32..3,
            self.extra.clone(),
        )
            .prop_map(|(provider_device, registers, fold_version, part, extra)| {
                Body::CheckpointTaken(CheckpointTaken {
                    provider_device,
                    registers,
                    fold_version,
                    part,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn checkpoint_completed(&self) -> BoxedStrategy<Body> {
        let heard = (
            self.integration.clone(),
            self.organization.clone(),
            option::of(self.instant.clone()),
            option::of(self.instant.clone()),
        );
        let heard = heard.prop_map(|(integration, organization, last_push_at, last_scan_at)| Heard {
            integration,
            organization,
            last_push_at,
            last_scan_at,
        });
        let listening = several(heard.boxed(), 2);
        (0_i32..12, 0_i64..1_000_000, listening, self.extra.clone())
            .prop_map(|(partition, covered, listening, extra)| {
                Body::CheckpointCompleted(CheckpointCompleted {
                    partition,
                    covered,
                    listening,
                    extra,
                })
            })
            .boxed()
    }

    pub(super) fn horizon_advanced(&self) -> BoxedStrategy<Body> {
        (self.text.clone(), self.instant.clone(), self.extra.clone())
            .prop_map(|(history, before, extra)| {
                Body::HorizonAdvanced(HorizonAdvanced {
                    history,
                    before,
                    extra,
                })
            })
            .boxed()
    }

    /// An event of a later version.
    pub(super) fn unknown(&self, name: &str) -> BoxedStrategy<Body> {
        let name = name.to_owned();
        (1_u8..20, self.json.clone())
            .prop_map(move |(version, data)| Body::Unknown {
                name: format!("{name}.v{version}"),
                data,
            })
            .boxed()
    }
}

fn event_id() -> impl Strategy<Value = EventId> {
    any::<u128>().prop_map(|id| EventId(Uuid::from_u128(id)))
}
