//! What a payload shows of a device's firmware.

use std::borrow::Cow;

use schema::{FirmwareReported, Micros};
use serde_json::value::RawValue;

use super::{Shown, TIMES};
use crate::payload::{Object, instant};

/// One report and the time it says of itself.
pub(in crate::dialect) struct Report {
    pub(in crate::dialect) body: FirmwareReported,
    pub(in crate::dialect) time: Option<Micros>,
}

/// Most packages of one payload that are read; the payload, which is kept, has the others too.
const MOST_PACKAGES: usize = 256;

/// The package of reports that name none.
const MAIN: &str = "main";

/// Reports in `firmware{…}`, in `metadata.update{package: …}`, and a version alone.
pub(super) fn reports(shown: &Shown<'_>) -> Vec<Report> {
    let mut reports = Vec::new();
    if let Some(value) = shown.get(&["firmware"]) {
        match Object::parse(value.get()) {
            Some(object) => reports.extend(report(&object, None)),
            None => reports.extend(version_alone(value)),
        }
    }
    if let Some(value) = shown.get(&["firmwareVersion", "firmware_version"]) {
        reports.extend(version_alone(value));
    }
    let update = shown
        .object("metadata")
        .and_then(|metadata| metadata.object("update"));
    for (package, value) in update.iter().flat_map(Object::members).take(MOST_PACKAGES) {
        if let Some(object) = Object::parse(value.get()) {
            reports.extend(report(&object, Some(package)));
        }
    }
    reports
}

/// What an object says of a package; `None` if it says nothing.
pub(in crate::dialect) fn report(object: &Object<'_>, package: Option<&str>) -> Option<Report> {
    let text = |names: &[&str]| object.text_or_number(names).map(Cow::into_owned);
    // An empty version was reported, too: by a device that runs none, or has none to go to.
    let version = |name| {
        object
            .any_text(name)
            .map(Cow::into_owned)
            .or_else(|| text(&[name]))
    };
    let code = |names: &[&str]| object.text_or_number(names)?.parse().ok();
    let body = FirmwareReported {
        package: text(&["package"])
            .or_else(|| package.map(str::to_owned))
            .unwrap_or_else(|| MAIN.to_owned()),
        version: version("version"),
        target: version("target"),
        state: text(&["state"]).map(|state| state.to_lowercase()),
        reason: text(&["reason"]),
        state_code: code(&["stateCode", "state_code"]),
        reason_code: code(&["reasonCode", "reason_code"]),
        via: Some("webhook".to_owned()),
        ..FirmwareReported::default()
    };
    let says_something = body.version.is_some()
        || body.target.is_some()
        || body.state.is_some()
        || body.reason.is_some()
        || body.state_code.is_some()
        || body.reason_code.is_some();
    let time = TIMES.iter().find_map(|name| object.get(name).and_then(instant));
    says_something.then_some(Report { body, time })
}

fn version_alone(value: &RawValue) -> Option<Report> {
    let version: String = serde_json::from_str(value.get()).ok()?;
    let body = FirmwareReported {
        package: MAIN.to_owned(),
        version: Some(version).filter(|version| !version.is_empty()),
        via: Some("webhook".to_owned()),
        ..FirmwareReported::default()
    };
    body.version.is_some().then_some(Report { body, time: None })
}
