//! A rebuild keeps within its memory, however much it has to keep, and says so when that is too little to begin with.

use std::time::Duration;

use schema::{
    Body, Event, ExternalId, IntegrationId, Micros, ProviderDevice, ProviderDeviceObserved, RawJson, Subject,
};
use serde_json::Value;
use stream::Appender;
use tests::{Stack, on_stack, told};
use uuid::Uuid;

/// Devices that hold more than the memory that is given, together and in each of the three partitions.
const DEVICES: u32 = 9_000;
/// Bytes of each one's metadata.
const METADATA: usize = 24 * 1024;
/// The least that one worker works with, and some more.
const MEMORY: u64 = 96 * 1024 * 1024;

/// A text that compression finds little in: what is fetched of one that is `x` and nothing else takes hundreds of times
/// its size on the way.
fn text(number: u32) -> String {
    let ids = (0..).map(|part| Uuid::new_v5(&Uuid::nil(), format!("{number}/{part}").as_bytes()));
    ids.take(METADATA / 32)
        .map(|id| id.simple().to_string())
        .collect()
}

/// A provider shows a device.
fn observed(number: u32) -> Event {
    let integration = IntegrationId(Uuid::from_u128(2));
    let id = ExternalId::new(&format!("dev-{number}")).expect("an id");
    let at = Micros::from_seconds_nanos(1_790_000_000, 0).expect("in range");
    let metadata = format!(r#"{{"{number}":"{}"}}"#, text(number));
    told(
        Subject::ProviderDevice(ProviderDevice::by_id(integration, id)),
        at,
        Body::ProviderDeviceObserved(ProviderDeviceObserved {
            complete: true,
            name: Some(Some(format!("SN-{number}"))),
            metadata: Some(Some(RawJson::parse(&metadata).expect("JSON"))),
            ..ProviderDeviceObserved::default()
        }),
    )
}

async fn rebuild(stack: &Stack, args: &[&str]) -> Value {
    stack
        .fleetlog_json(&[&["rebuild", "--json"], args].concat())
        .await
}

#[test]
fn a_rebuild_keeps_within_its_memory_and_ends_the_same() {
    on_stack(|stack| async move {
        let appender = Appender::connect(&stack.log, Duration::from_secs(30))
            .await
            .expect("the log");
        for first in (0..DEVICES).step_by(200) {
            let events: Vec<_> = (first..first + 200).map(observed).collect();
            appender.append_all(&events).await.expect("appended");
        }
        let plenty = rebuild(&stack, &["--memory", "1GiB"]).await;
        assert_eq!(plenty["outcome"], "promoted", "{plenty}");
        let memory = MEMORY.to_string();
        let little = rebuild(&stack, &["--memory", &memory, "--workers", "1"]).await;
        assert_eq!(little["outcome"], "promoted", "{little}");
        assert_eq!(little["proof"]["difference"], Value::Null, "{little}");
        let most = little["most_memory"].as_u64().expect("Linux says so");
        assert!(most <= MEMORY, "{most} of {MEMORY}");
    });
}

#[test]
fn a_rebuild_with_too_little_memory_says_how_much_it_takes() {
    on_stack(|stack| async move {
        let (code, _, errors) = stack
            .try_fleetlog(&["rebuild", "--memory", "64MiB", "--workers", "2"])
            .await;
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains("96.00 MiB at the least"), "{errors}");
    });
}
