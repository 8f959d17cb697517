//! Which device is meant by what people call it.

use schema::{DeviceId, Micros, OrganizationId, Serial};
use sqlx::PgPool;

use super::sql;
use crate::failure::Failure;

/// A device that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: DeviceId,
    pub(crate) organization: OrganizationId,
    /// What it shows.
    pub(crate) serial: String,
    /// Since when it is out of service.
    pub(crate) retired_at: Option<Micros>,
}

impl Known {
    /// The serial number, as events name it.
    pub(crate) fn serial(&self) -> Result<Serial, Failure> {
        Serial::new(&self.serial).map_err(|error| {
            Failure::refused(format!(
                "device {} has no serial number yet ({error}): bind it to one with `fleetlog device bind`",
                self.id
            ))
        })
    }
}

/// The one device with this serial number or id.
///
/// # Errors
/// Nothing is called so: not found. Several are: usage, naming their ids.
pub(crate) async fn one(
    pool: &PgPool,
    serial_or_id: &str,
    organization: Option<OrganizationId>,
) -> Result<Known, Failure> {
    let mut found = sql::known(pool, serial_or_id, organization).await?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(no_such(serial_or_id)),
        (Some(known), true) => Ok(known),
        (Some(last), false) => {
            let ids: Vec<_> = found
                .iter()
                .chain([&last])
                .map(|known| known.id.to_string())
                .collect();
            let ids = ids.join(", ");
            Err(Failure::usage(format!(
                "several devices are called {serial_or_id}: {ids}; name one by its id"
            )))
        }
    }
}

/// That something is called so.
///
/// # Errors
/// Nothing is: not found.
pub(crate) async fn any(
    pool: &PgPool,
    serial_or_id: &str,
    organization: Option<OrganizationId>,
) -> Result<(), Failure> {
    if sql::known(pool, serial_or_id, organization).await?.is_empty() {
        return Err(no_such(serial_or_id));
    }
    Ok(())
}

fn no_such(serial_or_id: &str) -> Failure {
    Failure::not_found(format!("there is no device {serial_or_id}"))
}
