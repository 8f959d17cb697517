//! Latest readings: of each path the newest shapes are kept.

use std::collections::BTreeMap;

use schema::OrderKey;
use uuid::Uuid;

use super::rows::{LatestKey, LatestRow};

/// Shapes kept per provider device and path: the newest. A top-k by key is still a join.
pub const MAX_SHAPES: usize = 32;

/// Drops what is not among the newest shapes of its path.
pub(super) fn keep_newest(latest: &mut BTreeMap<LatestKey, LatestRow>) {
    let mut n_shapes: BTreeMap<_, usize> = BTreeMap::new();
    for key in latest.keys() {
        *n_shapes.entry((key.device, &key.path)).or_default() += 1;
    }
    n_shapes.retain(|_, n_shapes| *n_shapes > MAX_SHAPES);
    let mut dropped = Vec::new();
    for (device, path) in n_shapes.into_keys() {
        let of_shape = |shape| LatestKey {
            device,
            path: path.clone(),
            shape,
        };
        let mut shapes: Vec<(OrderKey, &LatestKey)> = latest
            .range(of_shape(Uuid::nil())..=of_shape(Uuid::max()))
            .map(|(key, row)| (row.key, key))
            .collect();
        shapes.sort_unstable_by(|a, b| b.cmp(a));
        dropped.extend(shapes.into_iter().skip(MAX_SHAPES).map(|(_, key)| key.clone()));
    }
    for key in dropped {
        latest.remove(&key);
    }
}
