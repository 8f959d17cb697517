use proptest::{option, prelude::*};
use uuid::{Uuid, uuid};

use crate::{
    DeviceId, EventId, ExternalId, Identity, IntegrationId, Micros, OrganizationId, ProviderDevice, Serial,
    arbitrary::{World, log_id, serial},
};

/// The parts of an identity, few and short, so that they are often one another's beginnings and ends.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    integration: u128,
    texts: [String; 3],
    sender_id: Option<String>,
    time: Option<i64>,
    believed: bool,
    index: u64,
    content: u8,
}

impl Parts {
    fn id(&self) -> EventId {
        let [source, subject, name] = &self.texts;
        EventId::derive(&Identity {
            integration: IntegrationId(Uuid::from_u128(self.integration)),
            source,
            sender_id: self.sender_id.as_deref(),
            subject,
            name,
            time: self.time.map(|at| Micros::from_micros(at).expect("about 1970")),
            believed: self.believed,
            index: self.index,
            content: [self.content; 32],
        })
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let text = || "[a\u{0}\u{1}]{0,2}";
    (
        0_u128..2,
        [text(), text(), text()],
        option::of(text()),
        option::of(0_i64..2),
        any::<bool>(),
        0_u64..2,
        0_u8..2,
    )
        .prop_map(
            |(integration, texts, sender_id, time, believed, index, content)| Parts {
                integration,
                texts,
                sender_id,
                time,
                believed,
                index,
                content,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn two_identities_never_share_an_id(left in parts(), right in parts()) {
        prop_assert_eq!(left == right, left.id() == right.id());
    }

    #[test]
    fn a_character_that_moves_to_the_next_part_makes_another_id(parts in parts(), from in 0_usize..2) {
        let mut moved = parts.clone();
        let texts = &mut moved.texts;
        if let Some(last) = texts.get_mut(from).and_then(String::pop)
            && let Some(next) = texts.get_mut(from + 1)
        {
            next.insert(0, last);
            prop_assert_ne!(moved.id(), parts.id());
        }
    }
}

proptest! {
    #[test]
    fn a_provider_device_reads_back_as_it_was_written(device in World::wide().provider_device()) {
        let text = device.to_string();
        prop_assert_eq!(text.parse::<ProviderDevice>(), Ok(device.clone()));
        let json = serde_json::to_string(&device).expect("a string");
        prop_assert_eq!(serde_json::from_str::<ProviderDevice>(&json).expect("a provider device"), device);
    }

    #[test]
    fn two_provider_devices_never_share_a_text(
        left in World::small().provider_device(),
        right in World::small().provider_device(),
    ) {
        prop_assert_eq!(left == right, left.to_string() == right.to_string());
        prop_assert_eq!(left == right, left.uuid() == right.uuid());
    }

    #[test]
    fn any_text_is_an_id_or_is_refused(text in any::<String>()) {
        if let Ok(id) = ExternalId::new(&text) {
            prop_assert_eq!(id.as_str(), &text);
        }
        drop(text.parse::<ProviderDevice>());
        drop(format!("{}/id:{text}", Uuid::nil()).parse::<ProviderDevice>());
    }

    #[test]
    fn the_canonical_form_of_a_serial_is_its_own(serial in serial()) {
        prop_assert_eq!(Serial::new(serial.as_str()), Ok(serial.clone()));
        prop_assert_eq!(Serial::new(&format!(" {serial}\t")), Ok(serial));
    }

    #[test]
    fn a_log_id_reads_back_as_it_was_written(log in log_id()) {
        prop_assert_eq!(log.as_str().parse(), Ok(log.clone()));
    }
}

#[test]
fn awkward_names_read_back() {
    let integration = IntegrationId(Uuid::from_u128(7));
    for name in [
        "a/b",
        "id:x",
        "name:id:/",
        "/",
        ":",
        "Tür 3 😀",
        "\u{e9}",
        "%2F",
        "a b",
    ] {
        let by_id = ProviderDevice::by_id(integration, ExternalId::new(name).expect("valid"));
        let by_name = ProviderDevice::by_name(integration, Serial::new(name).expect("valid"));
        for device in [by_id, by_name] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
    }
}

#[test]
fn what_no_attribute_may_hold_is_no_id() {
    for text in ["", "a\nb", "a\u{85}b", "a\u{fffe}b", "\u{10ffff}"] {
        assert!(ExternalId::new(text).is_err(), "{text:?}");
    }
    assert!(ExternalId::new(&"é".repeat(128)).is_ok());
    assert!(ExternalId::new(&"é".repeat(129)).is_err());
}

/// Computed by another program from the description of each id. Logs and databases are full of them: they never
/// change.
#[test]
fn published_ids_stay_the_same() {
    let organization = OrganizationId(uuid!("5f0f5c1e-6f2f-4d43-8f6f-7d9a3c1b2a01"));
    let integration = IntegrationId(uuid!("0b8a4a52-9c3e-4b52-9d2f-2f6f1c7e9a10"));
    let serial = Serial::new("C252400001").expect("valid");
    let gateway = ExternalId::new("686d5da09c3ca8d766c1672b").expect("valid");
    let by_id = ProviderDevice::by_id(integration, gateway);
    let by_name = ProviderDevice::by_name(integration, serial.clone());

    assert_eq!(
        DeviceId::of_serial(organization, &serial).0,
        uuid!("ed2979d7-3d88-5326-b7ff-0c52cdb356e4")
    );
    assert_eq!(
        DeviceId::duplicate(organization, &serial, &by_id).0,
        uuid!("95f02f1e-8a7b-550e-b1e8-3828a0410414")
    );
    assert_eq!(by_id.uuid(), uuid!("134f9ad1-f11d-5d5a-8074-6a4826c0a2c5"));
    assert_eq!(by_name.uuid(), uuid!("35669e30-1182-5f7f-a98e-2f425d451c98"));

    let subject = by_id.to_string();
    let said = Identity {
        integration,
        source: "686d5da09c3ca8d766c1672b",
        sender_id: Some("aa12dc4c-c5ed-4b46-92e5-5a726f4daa81"),
        subject: &subject,
        name: "reading.received",
        time: Some("2022-01-27T16:17:06.458868Z".parse().expect("an instant")),
        believed: true,
        index: 0,
        content: [0xc0; 32],
    };
    assert_eq!(
        EventId::derive(&said).0,
        uuid!("3d640b8a-d742-5887-8dd1-5b88fa28f5b5")
    );
    let less = Identity {
        sender_id: None,
        time: None,
        believed: false,
        index: 258,
        ..said
    };
    assert_eq!(
        EventId::derive(&less).0,
        uuid!("e0e7b233-9743-52e6-95e4-02d25c185ca2")
    );
}
