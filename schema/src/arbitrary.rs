//! Strategies for property tests: any event that can be written, or events of a small world that often collide.

mod bodies;
mod decisions;
mod json;
mod observations;

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
    strategy::BoxedStrategy,
};
use uuid::Uuid;

pub use json::json;

use crate::{
    Body, CredentialId, DeviceId, Event, EventId, ExternalId, Extra, IntegrationId, LogId, Micros,
    OrganizationId, Origin, ProviderDevice, RawJson, Serial, Subject,
};

/// Whom and what events speak of.
#[derive(Clone, Debug)]
pub struct World {
    organization: BoxedStrategy<OrganizationId>,
    integration: BoxedStrategy<IntegrationId>,
    external_id: BoxedStrategy<ExternalId>,
    serial: BoxedStrategy<Serial>,
    instant: BoxedStrategy<Micros>,
    text: BoxedStrategy<String>,
    word: BoxedStrategy<String>,
    json: BoxedStrategy<RawJson>,
    extra: BoxedStrategy<Extra>,
}

/// The parties of one event.
#[derive(Clone, Debug)]
struct Parties {
    organization: OrganizationId,
    provider_device: ProviderDevice,
    serial: Serial,
}

impl World {
    /// Anything that can be written, once each.
    pub fn wide() -> Self {
        Self {
            organization: any::<u128>()
                .prop_map(|id| OrganizationId(Uuid::from_u128(id)))
                .boxed(),
            integration: any::<u128>()
                .prop_map(|id| IntegrationId(Uuid::from_u128(id)))
                .boxed(),
            external_id: "\\PC{1,40}"
                .prop_filter_map("an external id", |text| ExternalId::new(&text).ok())
                .boxed(),
            serial: serial(),
            instant: instant(),
            text: any::<String>().boxed(),
            word: "[a-z]{1,12}".boxed(),
            json: json(),
            extra: extra(),
        }
    }

    /// Three machines, heard through two integrations of one organization within ten minutes of a day: few enough
    /// that events meet, precede and equal one another.
    pub fn small() -> Self {
        const START: i64 = 1_777_900_000_000_000;
        let organization = OrganizationId(Uuid::from_u128(0x0a11));
        let texts = ["on", "off", ""].map(str::to_owned).to_vec();
        let words = ["main", "idle", "spare"].map(str::to_owned).to_vec();
        let json = ["null", "true", "1.50", "\"on\"", r#"{"temp":21.0,"battery":3.7}"#];
        let json = json.iter().filter_map(|text| RawJson::parse(text).ok());
        Self {
            organization: Just(organization).boxed(),
            integration: select(vec![0xa, 0xb])
                .prop_map(|id| IntegrationId(Uuid::from_u128(id)))
                .boxed(),
            external_id: select(vec!["686d5da0", "686d5da1", "686d5da2"])
                .prop_filter_map("an external id", |text| ExternalId::new(text).ok())
                .boxed(),
            serial: select(vec!["C252400001", "C252400002", "C252400003"])
                .prop_filter_map("a serial", |text| Serial::new(text).ok())
                .boxed(),
            instant: (0_i64..20)
                .prop_filter_map("an instant", |step| {
                    Micros::from_micros(START + step * 30_000_000).ok()
                })
                .boxed(),
            text: select(texts).boxed(),
            word: select(words).boxed(),
            json: select(json.collect::<Vec<_>>()).boxed(),
            extra: Just(Extra::new()).boxed(),
        }
    }

    /// Any event, unknown ones included.
    pub fn event(&self) -> BoxedStrategy<Event> {
        let world = self.clone();
        let mut names = Body::NAMES.to_vec();
        names.push("of.tomorrow");
        select(names)
            .prop_flat_map(move |name| world.event_of(name))
            .boxed()
    }

    /// Any event of this name; an unknown one for a name that is not in the catalogue.
    pub fn event_of(&self, name: &'static str) -> BoxedStrategy<Event> {
        let world = self.clone();
        self.parties()
            .prop_flat_map(move |parties| {
                let said = (world.subject(name, &parties), world.body(name, &parties));
                (Just(parties), said, world.circumstances())
            })
            .prop_map(|(parties, (subject, body), event)| Event {
                subject,
                organization: parties.organization,
                integration: event.integration.map(|_| parties.provider_device.integration),
                body,
                ..event
            })
            .boxed()
    }

    /// Any provider device, known by id or by name alone.
    pub fn provider_device(&self) -> BoxedStrategy<ProviderDevice> {
        let by_id = (self.integration.clone(), self.external_id.clone())
            .prop_map(|(integration, id)| ProviderDevice::by_id(integration, id));
        let by_name = (self.integration.clone(), self.serial.clone())
            .prop_map(|(integration, name)| ProviderDevice::by_name(integration, name));
        prop_oneof![3 => by_id, 1 => by_name].boxed()
    }

    fn parties(&self) -> impl Strategy<Value = Parties> + use<> {
        (
            self.organization.clone(),
            self.provider_device(),
            self.serial.clone(),
        )
            .prop_map(|(organization, provider_device, serial)| Parties {
                organization,
                provider_device,
                serial,
            })
    }

    /// Everything of an event but whom it speaks of and what it says.
    fn circumstances(&self) -> impl Strategy<Value = Event> + use<> {
        let attribute = "\\PC{0,20}";
        let origins = vec![
            Origin::Push,
            Origin::Poll,
            Origin::User,
            Origin::System,
            Origin::Backfill,
        ];
        let order = (
            any::<u128>(),
            self.instant.clone(),
            sequence(),
            self.instant.clone(),
        );
        let provenance = (
            option::of(self.instant.clone()),
            any::<bool>(),
            any::<bool>(),
            select(origins),
            option::of(any::<u128>()),
            any::<bool>(),
        );
        let carried = (
            option::of(attribute),
            "/\\PC{0,20}",
            btree_map("x[a-z0-9]{1,8}", attribute, 0..3),
        );
        (order, provenance, carried).prop_map(|(order, provenance, carried)| {
            let (id, at, sequence, recorded_at) = order;
            let (claimed_at, receipt_timed, heard, origin, credential, replayable) = provenance;
            let (traceparent, source, extensions) = carried;
            Event {
                id: EventId(Uuid::from_u128(id)),
                subject: Subject::Log,
                at,
                sequence,
                recorded_at,
                claimed_at,
                receipt_timed,
                organization: OrganizationId(Uuid::nil()),
                integration: heard.then_some(IntegrationId(Uuid::nil())),
                origin,
                credential: credential.map(|id| CredentialId(Uuid::from_u128(id))),
                replayable,
                traceparent,
                source,
                extensions,
                body: Body::Unknown {
                    name: "of.tomorrow.v1".to_owned(),
                    data: RawJson::from_value(&serde_json::Value::Null),
                },
            }
        })
    }

    /// Whom an event of this name speaks of.
    fn subject(&self, name: &str, parties: &Parties) -> BoxedStrategy<Subject> {
        let device = Subject::Device(DeviceId::of_serial(parties.organization, &parties.serial));
        let provider_device = Subject::ProviderDevice(parties.provider_device.clone());
        let other = self.word.clone().prop_map(Subject::Other);
        match name {
            "log.opened" | "checkpoint.completed" | "horizon.advanced" => Just(Subject::Log).boxed(),
            "sync.started" | "sync.completed" | "integration.changed" => {
                Just(Subject::Integration(parties.provider_device.integration)).boxed()
            }
            "device.registered" | "device.edited" | "device.retired" | "device.restored" | "edit.pushed" => {
                Just(device).boxed()
            }
            "deployment.requested" | "deployment.settled" => other.boxed(),
            "subject.erased" => select(vec![device, provider_device]).boxed(),
            known if Body::NAMES.contains(&known) => Just(provider_device).boxed(),
            _ => prop_oneof![Just(provider_device), other].boxed(),
        }
    }
}

/// Any instant there is.
pub fn instant() -> BoxedStrategy<Micros> {
    (-62_135_596_800_000_000_i64..=253_402_300_799_999_999)
        .prop_filter_map("an instant", |micros| Micros::from_micros(micros).ok())
        .boxed()
}

/// Any serial number, in canonical form.
pub fn serial() -> BoxedStrategy<Serial> {
    prop_oneof!["\\PC{1,40}", "[a-zA-Z0-9/: .e\u{301}\u{308}-]{1,20}"]
        .prop_filter_map("a serial", |text| Serial::new(&text).ok())
        .boxed()
}

/// Any log id.
pub fn log_id() -> BoxedStrategy<LogId> {
    "[0-9a-f]{8}"
        .prop_filter_map("a log id", |text| LogId::new(&text).ok())
        .boxed()
}

/// Sequences as they come: mostly small, at times a counter of somebody's, in a test of limits negative.
fn sequence() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0_i64..4, 2 => any::<u32>().prop_map(i64::from), 1 => any::<i64>()]
}

/// Fields of later versions, of which `serde_json` keeps the private names to itself.
fn extra() -> BoxedStrategy<Extra> {
    let value = json().prop_filter_map("a plain value", |raw| {
        let plain = !raw.get().contains("$serde_json::private");
        plain.then(|| raw.value().ok()).flatten()
    });
    btree_map("later_[a-z]{1,6}", value, 0..3).boxed()
}

/// A list of up to so many.
fn several<T: std::fmt::Debug + 'static>(item: BoxedStrategy<T>, most: usize) -> BoxedStrategy<Vec<T>> {
    vec(item, 0..=most).boxed()
}

/// A map by words.
fn named<T: std::fmt::Debug + 'static>(
    word: BoxedStrategy<String>,
    item: BoxedStrategy<T>,
) -> BoxedStrategy<BTreeMap<String, T>> {
    btree_map(word, item, 0..3).boxed()
}
