//! From an event about a provider device to its rows.
//!
//! What raises what: every state and firmware report raises the last report at its own key, the provider's own last
//! report at the time it states, however old. A connect or a session's start raises the newest connect. A disconnect
//! raises only the newest disconnect: it is no sign of life.

use schema::{
    ActivityObserved, Body, ConnectionChanged, ConnectionState, Disappearance, Event, EventId, Evidence,
    FirmwareReported, OrderKey, OrganizationId, ProviderDevice, ProviderDeviceObserved, storable_text,
};
use uuid::{Uuid, uuid};

use super::{
    Ignored, Truth, observed,
    rows::{
        ActivityRow, Connected, ConnectionKey, ConnectionRow, Copy, Disconnected, FieldRow, FirmwareKey,
        FirmwareRow, LastReport, ProviderDeviceRow, RegistryFact, ReportedBy,
    },
    stored,
};

/// Names of firmware facts live here.
const FIRMWARE_FACTS: Uuid = uuid!("4f5b2a53-0b0d-5e0c-8f5e-0b3d2f6c9a71");

/// A registry fact on its way into the tables.
struct Telling<'a> {
    truth: &'a mut Truth,
    device: &'a ProviderDevice,
    uuid: Uuid,
    organization: OrganizationId,
    key: OrderKey,
    fact: &'a RegistryFact,
}

impl Truth {
    /// Joins a registry event: the fact, and what follows from it.
    pub(super) fn registry_event(&mut self, event: &Event, device: &ProviderDevice) -> Result<(), Ignored> {
        let (text, body) = stored::body(&event.body).ok_or(Ignored::Unknown)?;
        let fact = RegistryFact {
            organization: event.organization,
            name: event.body.name().to_owned(),
            at: event.at,
            sequence: event.sequence,
            recorded_at: event.recorded_at,
            origin: event.origin,
            body: text,
        };
        self.follow(device, event.id, &fact, &body);
        self.registry
            .entry((device.uuid(), event.id))
            .and_modify(|held| held.joins(&fact))
            .or_insert(fact);
        Ok(())
    }

    /// Joins what follows from a fact that was kept.
    pub(super) fn refold(&mut self, device: &ProviderDevice, id: EventId, fact: &RegistryFact) {
        if let Some(body) = stored::decode(&fact.name, &fact.body) {
            self.follow(device, id, fact, &body);
        }
    }

    fn follow(&mut self, device: &ProviderDevice, id: EventId, fact: &RegistryFact, body: &Body) {
        Telling {
            truth: self,
            device,
            uuid: device.uuid(),
            organization: fact.organization,
            key: OrderKey {
                at: fact.at,
                sequence: fact.sequence,
                id,
            },
            fact,
        }
        .all(body);
    }
}

impl Telling<'_> {
    /// Joins all that follows from the fact.
    ///
    /// A provider that says anything of a device has it, save when it says that the device is gone; and a disconnect
    /// tells nothing of what came after.
    fn all(mut self, body: &Body) {
        match body {
            Body::ProviderDeviceObserved(body) => {
                self.seen();
                self.observed(body);
            }
            Body::ProviderDeviceDisappeared(body) => {
                self.named(None);
                let key = self.key;
                self.row().gone.join(key, how(&body.how));
            }
            Body::ProviderDeviceBound(body) => {
                self.seen();
                self.named(None);
                let key = self.key;
                self.row().bound.join(key, body.device);
            }
            Body::ActivityObserved(body) => {
                self.seen();
                self.named(None);
                self.active(body);
            }
            Body::ConnectionChanged(body) => {
                self.named(body.device_name.as_deref());
                self.connection(body);
            }
            Body::FirmwareReported(body) => {
                self.seen();
                self.named(body.device_name.as_deref());
                self.firmware(body);
            }
            Body::StateObserved(_) => {
                self.seen();
                self.named(None);
                self.reported(self.key, ReportedBy::State);
            }
            Body::SettingsObserved(_) => {
                self.seen();
                self.named(None);
            }
            Body::ReadingReceived(_)
            | Body::LogReceived(_)
            | Body::DeviceRegistered(_)
            | Body::DeviceEdited(_)
            | Body::DeviceRetired(_)
            | Body::DeviceRestored(_)
            | Body::EditPushed(_)
            | Body::DeploymentRequested(_)
            | Body::DeploymentSettled(_)
            | Body::SyncStarted(_)
            | Body::SyncCompleted(_)
            | Body::IntegrationChanged(_)
            | Body::SubjectErased(_)
            | Body::LogOpened(_)
            | Body::CheckpointTaken(_)
            | Body::CheckpointCompleted(_)
            | Body::HorizonAdvanced(_)
            | Body::Unknown { .. } => {}
        }
    }

    fn row(&mut self) -> &mut ProviderDeviceRow {
        self.truth
            .provider_device(self.uuid, self.organization, self.device)
    }

    fn activity(&mut self) -> &mut ActivityRow {
        self.truth
            .activity(self.uuid, self.organization, self.device.integration)
    }

    fn seen(&mut self) {
        let key = self.key;
        self.row().seen.join(key, ());
    }

    /// Joins the name that the event says, or that the provider device is known by.
    fn named(&mut self, said: Option<&str>) {
        let (key, recorded_at) = (self.key, self.fact.recorded_at);
        match observed::name(self.device, said) {
            Some(name) => self.row().heard_name(key, recorded_at, &name),
            // That it exists is a fact as well.
            None => _ = self.row(),
        }
    }

    fn observed(&mut self, body: &ProviderDeviceObserved) {
        let key = self.key;
        let said = body.name.as_ref().map(Option::as_deref);
        self.named(said.flatten());
        if said == Some(None) && observed::name(self.device, None).is_none() {
            self.row().name.join(key, None);
        }
        for (field, value) in observed::fields(body) {
            let row = FieldRow {
                organization: self.organization,
                key,
                value: value.text,
                hash: value.hash,
            };
            self.truth.join_field((self.uuid, field), row);
        }
    }

    fn reported(&mut self, key: OrderKey, by: ReportedBy) {
        let origin = self.fact.origin;
        self.activity().last_report.join(key, LastReport { by, origin });
    }

    fn active(&mut self, body: &ActivityObserved) {
        if let Some(Some(at)) = body.last_report {
            self.reported(OrderKey { at, ..self.key }, ReportedBy::Provider);
        }
        if let Some(Some(at)) = body.session_established_at {
            let key = OrderKey { at, ..self.key };
            let evidence = Evidence::Observed.as_str().to_owned();
            let session = Connected {
                session: None,
                evidence: evidence.clone(),
            };
            self.activity().connected.join(key, session);
            let fact = ConnectionKey {
                device: self.uuid,
                at,
                connected: true,
                session: String::new(),
            };
            self.connection_fact(fact, evidence, None);
        }
    }

    fn connection(&mut self, body: &ConnectionChanged) {
        let key = self.key;
        let session = body.session_id.as_deref().map(stored::key_text);
        let evidence = storable_text(body.evidence.as_str());
        let reason = body.reason.clone();
        match body.state {
            ConnectionState::Connected => {
                self.seen();
                let connected = Connected {
                    session: session.clone(),
                    evidence: evidence.clone(),
                };
                self.activity().connected.join(key, connected);
            }
            ConnectionState::Disconnected => {
                let disconnected = Disconnected {
                    session: session.clone(),
                    evidence: evidence.clone(),
                    reason: reason.clone(),
                };
                self.activity().disconnected.join(key, disconnected);
            }
        }
        let fact = ConnectionKey {
            device: self.uuid,
            at: key.at,
            connected: body.state == ConnectionState::Connected,
            session: session.unwrap_or_default(),
        };
        self.connection_fact(fact, evidence, reason);
    }

    fn connection_fact(&mut self, key: ConnectionKey, evidence: String, reason: Option<String>) {
        let row = ConnectionRow {
            organization: self.organization,
            copy: self.copy(),
            reason,
            evidence,
            recorded_at: self.fact.recorded_at,
        };
        self.truth.join_connection(key, row);
    }

    fn firmware(&mut self, body: &FirmwareReported) {
        self.reported(self.key, ReportedBy::Firmware);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let row = FirmwareRow {
            organization: self.organization,
            version: text(&body.version),
            target: text(&body.target),
            state: text(&body.state),
            reason: text(&body.reason),
            copy: self.copy(),
            state_code: body.state_code,
            reason_code: body.reason_code,
            via: body.via.clone(),
            recorded_at: self.fact.recorded_at,
        };
        // Stored texts hold no NUL, so no two facts read the same.
        let content = [&*row.version, &*row.target, &*row.state, &*row.reason].join("\0");
        let key = FirmwareKey {
            device: self.uuid,
            package: stored::key_text(&body.package),
            at: self.key.at,
            fact: Uuid::new_v5(&FIRMWARE_FACTS, content.as_bytes()),
        };
        self.truth.join_firmware(key, row);
    }

    fn copy(&self) -> Copy {
        Copy {
            sequence: self.key.sequence,
            id: self.key.id,
        }
    }
}

fn how(how: &Disappearance) -> String {
    match how {
        Disappearance::Reported => "reported".to_owned(),
        Disappearance::MissingFromScan => "missing_from_scan".to_owned(),
        Disappearance::NotFound => "not_found".to_owned(),
        Disappearance::Other(text) => text.clone(),
    }
}
