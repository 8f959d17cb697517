//! Events as clouds and people here tell them, appended to a test's own log.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use schema::{
    DeviceId, Event, EventId, ExternalId, IntegrationId, Micros, OrganizationId, Origin, ProviderDevice,
    Serial, Subject,
};
use serde_json::{Value, json};
use stream::{Appender, Position};
use tests::{Role, Stack, eventually};
use uuid::Uuid;

/// An organization with an integration, a projector, and a way to tell what happens.
pub(crate) struct World {
    pub(crate) stack: Rc<Stack>,
    pub(crate) organization: OrganizationId,
    pub(crate) integration: IntegrationId,
    pub(crate) projector: Rc<Role>,
    appender: Appender,
    /// Second 0.
    start: i64,
}

impl World {
    pub(crate) async fn new(stack: Rc<Stack>) -> Self {
        let projector = Rc::new(stack.projector().await);
        Self::with(stack, projector).await
    }

    /// Another organization, with an integration of its own.
    pub(crate) async fn another(&self) -> Self {
        Self::with(self.stack.clone(), self.projector.clone()).await
    }

    async fn with(stack: Rc<Stack>, projector: Rc<Role>) -> Self {
        let organization = stack.organization().await;
        let appender = Appender::connect(&stack.log, Duration::from_secs(10))
            .await
            .expect("the log is there");
        let world = Self {
            organization: organization.parse().expect("an id"),
            integration: IntegrationId(Uuid::nil()),
            projector,
            appender,
            // Long enough ago that commands come after it.
            start: i64::try_from(tests::now_seconds()).expect("seconds") - 3_600,
            stack,
        };
        world.at_a("golioth").await
    }

    /// What clouds say is said through a new integration of this provider from now on.
    pub(crate) async fn at_a(mut self, provider: &str) -> Self {
        let name = format!("int-{}", Uuid::new_v4().simple());
        let organization = self.organization.to_string();
        let mut args = vec!["integration", "create", &name, "--organization", &organization];
        args.extend(["--provider", provider, "--no-credential", "--json"]);
        let made = self.stack.fleetlog_json(&args).await;
        let id = made["integration_id"].as_str().and_then(|id| id.parse().ok());
        self.integration = id.expect("an id");
        self
    }

    /// So many seconds after the start.
    pub(crate) fn at(&self, seconds: i64) -> Micros {
        Micros::from_micros((self.start + seconds) * 1_000_000).expect("within range")
    }

    pub(crate) fn device(&self, serial: &str) -> DeviceId {
        DeviceId::of_serial(self.organization, &Serial::new(serial).expect("a serial"))
    }

    pub(crate) fn provider_device(&self, id: &str) -> ProviderDevice {
        ProviderDevice::by_id(self.integration, ExternalId::new(id).expect("an id"))
    }

    pub(crate) fn event(&self, subject: Subject, name: &str, at: i64, data: &Value) -> Event {
        let content = format!("{subject} {name} {at} {data}");
        Event {
            id: EventId(Uuid::new_v5(&self.organization.0, content.as_bytes())),
            organization: self.organization,
            origin: Origin::Poll,
            ..tests::told(subject, self.at(at), tests::said(name, data))
        }
    }

    /// What the cloud shows of a provider device.
    pub(crate) fn observed(&self, id: &str, at: i64, data: &Value) -> Event {
        let subject = Subject::ProviderDevice(self.provider_device(id));
        self.event(subject, "provider-device.observed", at, data)
    }

    pub(crate) fn gone(&self, id: &str, at: i64) -> Event {
        let subject = Subject::ProviderDevice(self.provider_device(id));
        self.event(
            subject,
            "provider-device.disappeared",
            at,
            &json!({"how": "reported"}),
        )
    }

    pub(crate) fn registered(&self, serial: &str, at: i64) -> Event {
        let subject = Subject::Device(self.device(serial));
        let data = json!({"serial": serial, "author": "ann"});
        self.event(subject, "device.registered", at, &data)
    }

    /// An edit of one field by someone who saw this value of the cloud.
    pub(crate) fn edited(
        &self,
        serial: &str,
        at: i64,
        (field, value): (&str, Value),
        seen: Option<(Value, i64)>,
        strategy: &str,
    ) -> Event {
        let seen = seen.map_or_else(
            || json!({}),
            |(remote, at)| json!({"remote": remote, "remote_at": self.at(at)}),
        );
        let change = json!({"field": field, "value": value, "seen": seen, "strategy": strategy});
        let data = json!({"serial": serial, "author": "ann", "changes": [change]});
        self.event(Subject::Device(self.device(serial)), "device.edited", at, &data)
    }

    /// The cloud's answer to a push of an edit.
    pub(crate) fn pushed(&self, edit: &Event, field: &str, at: i64, outcome: &str) -> Event {
        let data =
            json!({"edit": edit.id, "fields": [field], "outcome": outcome, "answer": {"said": outcome}});
        self.event(edit.subject.clone(), "edit.pushed", at, &data)
    }

    /// Appends events, and waits until readers see them.
    pub(crate) async fn tell(&self, events: &[Event]) {
        let positions = self.appender.append_all(events).await.expect("appended");
        self.folded(&positions).await;
    }

    async fn folded(&self, positions: &[Position]) {
        let mut ends: BTreeMap<(&str, i32), i64> = BTreeMap::new();
        for position in positions {
            let end = ends
                .entry((position.topic.suffix(), position.partition))
                .or_default();
            *end = position.offset.max(*end);
        }
        eventually("what was told is folded", || async {
            let rows: Vec<(String, i32, i64)> = sqlx::query_as(
                "SELECT topic, partition, next_offset FROM projection_meta.offsets WHERE generation = 'gen_1'",
            )
            .fetch_all(&self.stack.admin)
            .await
            .expect("the offsets can be read");
            let come = |(topic, partition): (&str, i32)| {
                rows.iter()
                    .find(|(held, part, _)| held == topic && *part == partition)
                    .map_or(0, |(_, _, next)| *next)
            };
            let behind = ends.iter().find(|(place, offset)| come(**place) <= **offset);
            behind.map_or(Ok(()), |behind| Err(format!("not yet: {behind:?}")))
        })
        .await;
    }

    /// The rows of `fleet.device_fields` of a device, by field.
    pub(crate) async fn fields(&self, serial: &str) -> BTreeMap<String, Value> {
        let device = self.device(serial);
        let rows = self
            .stack
            .rows(&format!(
                "SELECT * FROM fleet.device_fields WHERE device = '{device}'"
            ))
            .await;
        let named = rows
            .into_iter()
            .map(|row| (row["field"].as_str().unwrap_or_default().to_owned(), row));
        named.collect()
    }

    /// One field of a device.
    pub(crate) async fn field(&self, serial: &str, field: &str) -> Value {
        let mut fields = self.fields(serial).await;
        fields
            .remove(field)
            .unwrap_or_else(|| panic!("{serial} has no {field}: {fields:?}"))
    }
}
