//! `fleetlog sealing-key`: the key that seals credentials at rest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use rand::Rng as _;

use crate::{
    config::{OwnerDatabase, SealingArgs},
    failure::Failure,
    output,
};

/// Makes and changes the key that seals credentials at rest
#[derive(Subcommand)]
pub(crate) enum SealingKey {
    Generate(Generate),
    Rotate(Rotate),
}

/// Prints a new key: 256 random bits in base64. Keep it apart from backups of the database
#[derive(Args)]
#[command(after_help = "\
Example:
  (umask 077; fleetlog sealing-key generate > sealing.key)")]
pub(crate) struct Generate {}

/// Seals all credentials that are not over with the active key; afterwards the old keys are no longer needed
///
/// Give the new key as FLEETLOG_SEALING_KEY and the old one as FLEETLOG_SEALING_OLD_KEYS (or the _FILE forms) to every
/// ingest first, restart them one by one, run this, then take the old key away.
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    sealing: SealingArgs,
}

impl SealingKey {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Generate(Generate {}) => {
                let mut key = [0_u8; 32];
                rand::rng().fill_bytes(&mut key);
                output::line(STANDARD.encode(key))
            }
            Self::Rotate(command) => command.run().await,
        }
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let (pool, keyring) = (self.database.pool()?, self.sealing.keyring()?);
        let done = control::credential::reseal_all(&pool, &keyring).await?;
        let (now, before) = (done.n_resealed, done.n_already);
        let active = keyring.active_id();
        output::line(format!(
            "sealed {now} credentials with key {active}; {before} were sealed with it before"
        ))
    }
}
