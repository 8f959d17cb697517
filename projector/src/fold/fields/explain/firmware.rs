//! Why a device shows its firmware version: the newest report that names one.

use std::collections::BTreeMap;

use schema::{DeviceId, IntegrationId, OrderKey, RawJson};
use serde_json::json;

use super::{Explained, Source, Statement, Verdict};
use crate::fold::{
    Tables,
    fields::{Observed, Shown},
    resolve::State,
    rows::Stored,
};

impl Tables {
    /// The firmware version of a device, with every report that names one. None if there is none that counts.
    ///
    /// `primary` is the package of an integration that alone counts, where it has one.
    pub fn explain_firmware(
        &self,
        device: DeviceId,
        primary: &BTreeMap<IntegrationId, String>,
    ) -> Option<Explained> {
        let mut reports = Vec::new();
        for (cloud, candidate) in self.linked_to(device) {
            let of_cloud = self.truth.firmware.iter().filter(|(key, _)| key.device == cloud);
            for (key, row) in of_cloud.filter(|(_, row)| !row.version.is_empty()) {
                let only = primary.get(&candidate.device.integration);
                let observed = Observed {
                    provider_device: cloud,
                    key: OrderKey {
                        at: key.at,
                        sequence: row.copy.sequence,
                        id: row.copy.id,
                    },
                    value: Stored::new(&RawJson::from_value(&json!(row.version))),
                };
                reports.push((observed, only.is_none_or(|only| *only == key.package)));
            }
        }
        let counting = reports.iter().filter(|(_, counts)| *counts);
        let newest = counting
            .map(|(report, _)| report)
            .max_by_key(|report| report.key)?
            .clone();
        let mut statements: Vec<Statement> = reports
            .into_iter()
            .map(|(report, counts)| Statement {
                key: report.key,
                source: Source::Cloud(report.provider_device),
                verdict: match counts {
                    false => Verdict::OtherPackage,
                    true if report == newest => Verdict::Won,
                    true if report.value == newest.value => Verdict::Agrees,
                    true => Verdict::Older,
                },
                value: report.value,
            })
            .collect();
        statements.sort_by_key(|statement| std::cmp::Reverse(statement.key));
        let shown = Shown {
            state: State::Remote,
            value: Some(newest.value.clone()),
            remote: Some(newest),
            edit: None,
            base: None,
            answer: None,
            conflict: None,
        };
        Some(Explained { shown, statements })
    }
}
