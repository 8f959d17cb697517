//! `fleetlog migrate`: the database as this version needs it.

mod scram;

use clap::Args;
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, PgPool};

use crate::{config::OwnerDatabase, failure::Failure, output};

/// Brings the database to the state that this version needs. Doing it twice changes nothing
///
/// Connects as the owner-to-be of the tables, who may create roles or finds them created: fleetlog_operator,
/// fleetlog_api, fleetlog_projector and fleetlog_ingest. They cannot log in unless a password is given here, or they are
/// granted to login roles.
#[derive(Args)]
pub(crate) struct Migrate {
    /// Lets role fleetlog_operator log in with this password
    #[arg(
        long,
        env = "FLEETLOG_OPERATOR_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    operator_password: Option<SecretString>,
    /// Lets role fleetlog_api log in with this password
    #[arg(
        long,
        env = "FLEETLOG_API_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    api_password: Option<SecretString>,
    /// Lets role fleetlog_projector log in with this password
    #[arg(
        long,
        env = "FLEETLOG_PROJECTOR_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    projector_password: Option<SecretString>,
    /// Lets role fleetlog_ingest log in with this password
    #[arg(
        long,
        env = "FLEETLOG_INGEST_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    ingest_password: Option<SecretString>,
    #[command(flatten)]
    database: OwnerDatabase,
}

impl Migrate {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        control::migrate::run(&pool).await?;
        let active = projector::generations::ensure(&pool).await?;
        for (role, password) in [
            ("fleetlog_operator", &self.operator_password),
            ("fleetlog_api", &self.api_password),
            ("fleetlog_projector", &self.projector_password),
            ("fleetlog_ingest", &self.ingest_password),
        ] {
            // A variable that is set to nothing gives no password.
            if let Some(password) = password
                .as_ref()
                .filter(|password| !password.expose_secret().is_empty())
            {
                let_log_in(&pool, role, password).await?;
            }
        }
        output::line(format!("migrated; readers see {}", active.generation))?;
        if active.fold_version != projector::FOLD_VERSION {
            output::line(format!(
                "{} was filled by version {} of the fold, and this is version {}: it can be read as before, and \
                 projectors of this version will not write it. A rebuild is due: `fleetlog rebuild`",
                active.generation,
                active.fold_version,
                projector::FOLD_VERSION
            ))?;
        }
        Ok(())
    }
}

/// Lets a role log in. The server is told what it checks the password with, never the password: statements are logged.
async fn let_log_in(pool: &PgPool, role: &'static str, password: &SecretString) -> Result<(), Failure> {
    let mut salt = [0_u8; 16];
    rand::rng().fill_bytes(&mut salt);
    let verifier = scram::verifier(password.expose_secret(), &salt).ok_or_else(|| {
        Failure::usage(format!(
            "the password of {role} must be printable ASCII, and not empty"
        ))
    })?;
    // `ALTER ROLE` takes no parameters. A verifier is base64, `$` and `:`.
    let statement = format!("ALTER ROLE {role} LOGIN PASSWORD '{verifier}'");
    sqlx::query(AssertSqlSafe(statement)).execute(pool).await?;
    Ok(())
}
