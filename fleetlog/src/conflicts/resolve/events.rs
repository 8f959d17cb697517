//! From a decision to the events that say it.

use std::collections::BTreeMap;

use schema::{
    Body, DeviceId, Event, EventId, Extra, Field, OrganizationId, ProviderDevice, ProviderDeviceBound,
    Serial, Subject,
};
use sqlx::PgPool;
use stream::Position;

use super::Resolve;
use crate::{
    clock,
    conflicts::{
        decision::{self, Decision},
        pending::Pending,
        sql,
    },
    decided::{self, Concern},
    device::{
        change::{Edit, Wanted},
        fields::{self, Shown, Strategies},
    },
    failure::Failure,
};

/// A conflict and the event that decides it.
pub(super) struct Decided {
    pub(super) pending: Pending,
    /// Nothing if either side has said something else since it was read.
    pub(super) event: Option<EventId>,
    pub(super) position: Option<Position>,
}

/// Decides conflicts.
pub(super) struct Deciding<'a> {
    command: &'a Resolve,
    pool: &'a PgPool,
    decision: &'a Decision,
    strategies: BTreeMap<OrganizationId, Strategies>,
}

impl<'a> Deciding<'a> {
    pub(super) fn new(command: &'a Resolve, pool: &'a PgPool, decision: &'a Decision) -> Self {
        Self {
            command,
            pool,
            decision,
            strategies: BTreeMap::new(),
        }
    }

    /// The events that decide these.
    pub(super) async fn events(
        &mut self,
        pending: &[Pending],
    ) -> Result<(Vec<Event>, Vec<Decided>), Failure> {
        if self.decision.is_of_fields() {
            self.edits(pending).await
        } else {
            self.bindings(pending).await
        }
    }

    async fn edits(&mut self, pending: &[Pending]) -> Result<(Vec<Event>, Vec<Decided>), Failure> {
        let mut by_device: BTreeMap<DeviceId, Vec<&Pending>> = BTreeMap::new();
        for pending in pending {
            if let Some(device) = pending.device {
                by_device.entry(device).or_default().push(pending);
            }
        }
        let devices: Vec<_> = by_device.keys().copied().collect();
        let names: Vec<_> = pending
            .iter()
            .filter_map(|pending| pending.field.clone())
            .collect();
        let mut shown = fields::shown(self.pool, &devices, Some(&names)).await?;
        let (mut events, mut decided) = (Vec::new(), Vec::new());
        for (device, pending) in by_device {
            let shown = shown.remove(&device).unwrap_or_default();
            let (event, of_device) = self.edit(device, &pending, &shown).await?;
            events.extend(event);
            decided.extend(of_device);
        }
        Ok((events, decided))
    }

    async fn edit(
        &mut self,
        device: DeviceId,
        pending: &[&Pending],
        shown: &Shown,
    ) -> Result<(Option<Event>, Vec<Decided>), Failure> {
        let mut wanted = Wanted::new();
        for pending in pending {
            if let Some(field) = still_waits(pending, shown) {
                wanted.insert(field, self.decision.value(pending));
            }
        }
        let Some(first) = pending.first() else {
            return Ok((None, Vec::new()));
        };
        let strategies = self.strategies(first.organization).await?;
        let edit = Edit::of(&wanted, shown, strategies);
        let concern = Concern {
            organization: first.organization,
            integration: None,
            subject: Subject::Device(device),
        };
        let event = edit.map(|edit| {
            let at = decided::after(clock::now(), edit.seen_at.iter().copied());
            let body = edit.body(serial(first)?, self.author(), self.note());
            Ok::<_, Failure>(decided::event(concern, Body::DeviceEdited(body), at))
        });
        let event = event.transpose()?;
        let decided = pending.iter().map(|pending| Decided {
            event: event
                .as_ref()
                .filter(|_| still_waits(pending, shown).is_some())
                .map(|event| event.id),
            pending: (*pending).clone(),
            position: None,
        });
        Ok((event.clone(), decided.collect()))
    }

    async fn strategies(&mut self, organization: OrganizationId) -> Result<&Strategies, Failure> {
        if !self.strategies.contains_key(&organization) {
            let read = fields::strategies(self.pool, organization).await?;
            self.strategies.insert(organization, read);
        }
        Ok(self.strategies.entry(organization).or_default())
    }

    async fn bindings(&self, pending: &[Pending]) -> Result<(Vec<Event>, Vec<Decided>), Failure> {
        let (mut events, mut decided) = (Vec::new(), Vec::new());
        for pending in pending {
            let linked = sql::linked(self.pool, &pending.provider_devices).await?;
            let bodies = self.bound(pending, &linked)?;
            let first = events.len();
            for (provider_device, body) in bodies {
                let concern = Concern {
                    organization: pending.organization,
                    integration: Some(provider_device.integration),
                    subject: Subject::ProviderDevice(provider_device),
                };
                let at = decided::after(clock::now(), pending.opened_at);
                events.push(decided::event(concern, Body::ProviderDeviceBound(body), at));
            }
            decided.push(Decided {
                pending: pending.clone(),
                event: events.get(first).map(|event| event.id),
                position: None,
            });
        }
        Ok((events, decided))
    }

    /// Which provider device is which device.
    fn bound(
        &self,
        pending: &Pending,
        linked: &[sql::Linked],
    ) -> Result<Vec<(ProviderDevice, ProviderDeviceBound)>, Failure> {
        let now = |provider_device: &ProviderDevice| {
            let text = provider_device.to_string();
            let linked = linked.iter().find(|linked| linked.provider_device == text);
            linked.and_then(|linked| linked.device).map(DeviceId)
        };
        let serial = serial(pending)?;
        let bound = |provider_device: ProviderDevice, device, duplicate| {
            let body = ProviderDeviceBound {
                device,
                serial: Some(serial.clone()),
                seen_device: now(&provider_device),
                duplicate,
                resolves: vec![pending.conflict.clone()],
                author: self.author().to_owned(),
                reason: self.note().map(str::to_owned),
                extra: Extra::new(),
            };
            (provider_device, body)
        };
        if matches!(self.decision, Decision::CreateDuplicate) {
            let own = decision::duplicate(pending, self.command.provider_device.as_ref())?;
            let made = DeviceId::duplicate(pending.organization, &serial, &own);
            let device = now(&own)
                .filter(|_| decision::stays_where_it_is(pending))
                .unwrap_or(made);
            return Ok(vec![bound(own, device, true)]);
        }
        let device = decision::one_device(pending, self.command.to)?;
        let all = pending.provider_devices.iter().cloned();
        Ok(all
            .map(|provider_device| bound(provider_device, device, false))
            .collect())
    }

    fn author(&self) -> &str {
        self.command.author.author()
    }

    fn note(&self) -> Option<&str> {
        self.command.note.as_deref()
    }
}

/// The field of a conflict, if it is still the same conflict.
fn still_waits(pending: &Pending, shown: &Shown) -> Option<Field> {
    let name = pending.field.as_ref()?;
    let conflict = shown.fields.get(name)?.conflict.as_ref()?;
    (*conflict == pending.conflict).then(|| Field::parse(name).ok())?
}

/// The serial number of a conflict's device, as events name it.
fn serial(pending: &Pending) -> Result<Serial, Failure> {
    Serial::new(&pending.serial)
        .map_err(|error| Failure::refused(format!("conflict {}: {error}", pending.conflict)))
}
