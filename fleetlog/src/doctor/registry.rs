//! Who may send: integrations and their credentials.

use std::{collections::BTreeSet, time::Duration};

use control::{Credential, Integration, SchemeKind};
use schema::Micros;

use super::{Look, finding::Finding};

/// An integration with all its credentials.
struct Known {
    integration: Integration,
    credentials: Vec<Credential>,
}

impl Known {
    fn live(&self, now: Micros) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().filter(move |one| {
            one.revoked_at.is_none()
                && one.not_before.is_none_or(|from| from <= now)
                && one.expires_at.is_none_or(|until| now < until)
        })
    }
}

/// Looks at all of it.
pub(super) async fn look(look: &Look, now: Micros) -> Vec<Finding> {
    match look.within("integrations", known(look)).await {
        Ok(known) => vec![
            integrations(&known, now),
            expiry(&known, now, look.expiring),
            replayable(&known, now),
            sealing(&known),
        ],
        Err(finding) => {
            let unknown = |check| Finding::skipped(check, "not known while the registry cannot be read");
            let mut findings = vec![finding];
            findings.extend(["credentials", "replayable", "sealing"].map(unknown));
            findings
        }
    }
}

async fn known(look: &Look) -> Result<Vec<Known>, Finding> {
    let failed = |error: control::ControlError| {
        Finding::failed(
            "integrations",
            error.to_string(),
            "see `postgres` and `migrations`",
        )
    };
    let mut known = Vec::new();
    for integration in control::integration::list(&look.pool, None)
        .await
        .map_err(failed)?
    {
        let credentials = control::credential::list(&look.pool, integration.id)
            .await
            .map_err(failed)?;
        known.push(Known {
            integration,
            credentials,
        });
    }
    Ok(known)
}

fn integrations(known: &[Known], now: Micros) -> Finding {
    let check = "integrations";
    if known.is_empty() {
        let remedy = "`fleetlog organization create`, then `fleetlog integration create`";
        return Finding::warning(check, "there is none, so nobody can send", remedy);
    }
    let deaf = known.iter().filter(|one| one.live(now).next().is_none());
    let deaf = named(deaf);
    if deaf.is_empty() {
        Finding::ok(check, format!("{}, each with a credential in force", known.len()))
    } else {
        let found = format!("without a credential in force, so that all deliveries are refused: {deaf}");
        Finding::failed(check, found, "`fleetlog credential add INTEGRATION`")
    }
}

fn expiry(known: &[Known], now: Micros, within: Duration) -> Finding {
    let check = "credentials";
    let soon = now.plus(within);
    let unrevoked = |one: &Known| -> Vec<(Micros, String)> {
        let credentials = one.credentials.iter().filter(|one| one.revoked_at.is_none());
        let ends = credentials.filter_map(|credential| {
            let ends = credential.expires_at?;
            Some((
                ends,
                format!("{} of {} at {ends}", credential.id, one.integration.name),
            ))
        });
        ends.collect()
    };
    let mut expiring: Vec<_> = known.iter().flat_map(unrevoked).collect();
    expiring.retain(|(ends, _)| now < *ends && *ends <= soon);
    expiring.sort();
    // What takes over is there already, or is not.
    let lapsing = known.iter().filter(|one| {
        one.live(now).next().is_some()
            && one
                .live(now)
                .all(|one| one.expires_at.is_some_and(|ends| ends <= soon))
    });
    let lapsing = named(lapsing);
    let within = crate::output::long(within);
    if !lapsing.is_empty() {
        let found = format!("the last ones expire within {within}: {lapsing}");
        return Finding::warning(
            check,
            found,
            "`fleetlog credential rotate`, and give senders the new secret",
        );
    }
    if expiring.is_empty() {
        Finding::ok(check, format!("none expires within {within}"))
    } else {
        let listed: Vec<_> = expiring.into_iter().map(|(_, text)| text).collect();
        Finding::ok(
            check,
            format!("expiring within {within}, others stay: {}", listed.join(", ")),
        )
    }
}

fn replayable(known: &[Known], now: Micros) -> Finding {
    let check = "replayable";
    let signed = |one: &&Known| {
        !one.integration.policy.refuse_replayable
            && one
                .live(now)
                .any(|one| one.scheme.kind() == SchemeKind::HmacSha256)
    };
    let open = named(known.iter().filter(signed));
    if open.is_empty() {
        Finding::ok(
            check,
            "no integration takes signed deliveries that could be sent again unnoticed",
        )
    } else {
        let found = format!("a delivery with neither id nor time signed can be replayed: {open}");
        let remedy = "if its senders sign an id or a time, `fleetlog integration edit` it to refuse others";
        Finding::warning(check, found, remedy)
    }
}

fn sealing(known: &[Known]) -> Finding {
    let check = "sealing";
    let all = known.iter().flat_map(|one| &one.credentials);
    let keys: BTreeSet<_> = all.map(|one| one.sealing_key_id.as_str()).collect();
    if keys.len() > 1 {
        let found = format!("secrets are sealed with {} different keys", keys.len());
        Finding::warning(
            check,
            found,
            "`fleetlog sealing-key rotate` seals all with the newest",
        )
    } else {
        Finding::ok(check, "secrets are sealed with one key")
    }
}

fn named<'a>(known: impl Iterator<Item = &'a Known>) -> String {
    let named: Vec<_> = known
        .map(|one| format!("{} ({})", one.integration.name, one.integration.id))
        .collect();
    named.join(", ")
}
