//! What commands are told by arguments and environment variables, each in one place.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{ArgAction, Args, builder::BoolishValueParser};
use control::{Keyring, SealingKey};
use schema::IntegrationId;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use stream::LogConfig;

use crate::{door, failure::Failure, parse};

/// How long a command may wait for a connection to PostgreSQL.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the log is.
#[derive(Args, Clone)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaArgs {
    /// Brokers to begin with
    #[arg(long = "kafka-brokers", env = "KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// What the names of the topics begin with
    #[arg(long, env = "FLEETLOG_TOPIC_PREFIX", value_name = "PREFIX", default_value = schema::Topic::DEFAULT_PREFIX, value_parser = parse::prefix)]
    topic_prefix: String,
    /// One replica of everything is meant: for a single broker, e.g. on a developer's machine
    #[arg(long, env = "FLEETLOG_SINGLE_BROKER", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    single_broker: bool,
    /// Properties of librdkafka, e.g. for TLS and SASL: key=value, separated by commas or line breaks
    #[arg(
        long,
        env = "FLEETLOG_KAFKA_PROPERTIES",
        hide_env_values = true,
        value_name = "KEY=VALUE,…"
    )]
    kafka_properties: Option<SecretString>,
    /// File of such properties, one a line, in which `#` begins a comment
    #[arg(long, env = "FLEETLOG_KAFKA_PROPERTIES_FILE", value_name = "FILE")]
    kafka_properties_file: Option<PathBuf>,
}

impl KafkaArgs {
    /// The log's place.
    pub(crate) fn log(&self) -> Result<LogConfig, Failure> {
        let given = self.brokers.clone().filter(|brokers| !brokers.is_empty());
        let brokers = given.ok_or_else(|| Failure::usage("--kafka-brokers or KAFKA_BROKERS is needed"))?;
        let mut properties = Vec::new();
        if let Some(file) = &self.kafka_properties_file {
            properties = parse_properties(&door::read_bounded(file)?, '\n')
                .with_context(|| format!("{} holds no properties", file.display()))
                .map_err(Failure::Usage)?;
        }
        if let Some(text) = &self.kafka_properties {
            // Later ones win.
            let text = text.expose_secret().replace('\n', ",");
            let said = parse_properties(&text, ',').context("FLEETLOG_KAFKA_PROPERTIES");
            properties.extend(said.map_err(Failure::Usage)?);
        }
        Ok(LogConfig {
            brokers,
            prefix: self.topic_prefix.clone(),
            single_broker: self.single_broker,
            properties,
        })
    }
}

/// Reads `key=value` pairs. An error does not repeat the value.
fn parse_properties(text: &str, separator: char) -> anyhow::Result<Vec<(String, String)>> {
    let lines = text.split(separator).map(str::trim);
    let said = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| anyhow!("a property is written key=value"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    said.map(pair).collect()
}

/// The database as the owner of its tables sees it.
#[derive(Args, Clone)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct OwnerDatabase {
    /// The database, as the owner of its tables
    #[arg(
        long,
        env = "FLEETLOG_ADMIN_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    admin_database_url: SecretString,
}

impl OwnerDatabase {
    /// Connects when it is first used.
    pub(crate) fn pool(&self) -> Result<PgPool, Failure> {
        pool(&self.admin_database_url, "fleetlog admin", 2)
    }
}

/// The database as whoever may act as the projector sees it.
#[derive(Args, Clone)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct ProjectorDatabase {
    /// The database, as role fleetlog_projector or as whoever may act as it
    #[arg(
        long,
        env = "FLEETLOG_PROJECTOR_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    projector_database_url: SecretString,
}

impl ProjectorDatabase {
    /// Connects when it is first used, and acts as the projector: what is made belongs to it.
    pub(crate) fn pool(&self, connections: u32) -> Result<PgPool, Failure> {
        projector_pool(&self.projector_database_url, connections)
    }
}

/// A pool that acts as the projector: what is made belongs to it.
pub(crate) fn projector_pool(url: &SecretString, connections: u32) -> Result<PgPool, Failure> {
    pool_that_begins_with(ACT_AS_PROJECTOR, url, "fleetlog rebuild", connections)
}

/// A server that works for a process that was killed notices within a few seconds, and gives up what it holds.
const ACT_AS_PROJECTOR: &str = "SET ROLE fleetlog_projector; SET client_connection_check_interval = '2s'";

/// The database as somebody who may only read sees it.
#[derive(Args, Clone)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct ReaderDatabase {
    /// The database, as role fleetlog_operator: it may only read
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: SecretString,
}

impl ReaderDatabase {
    /// Connects when it is first used.
    pub(crate) fn pool(&self) -> Result<PgPool, Failure> {
        reader_pool(&self.database_url)
    }
}

/// The database as somebody who may only read sees it. Connects when it is first used.
pub(crate) fn reader_pool(url: &SecretString) -> Result<PgPool, Failure> {
    pool_that_begins_with(READ_WITHIN_BOUNDS, url, "fleetlog", 2)
}

/// A question that takes longer than anybody waits does not burden the server for ever.
const READ_WITHIN_BOUNDS: &str =
    "SET statement_timeout = '10min'; SET client_connection_check_interval = '2s'";

/// A pool that connects when it is first used, so that a process can start, and say what it waits for, while
/// PostgreSQL is down.
pub(crate) fn pool(url: &SecretString, name: &str, connections: u32) -> Result<PgPool, Failure> {
    let (options, connect) = pool_options(url, name, connections)?;
    Ok(options.connect_lazy_with(connect))
}

/// A pool whose sessions begin with some settings.
fn pool_that_begins_with(
    settings: &'static str,
    url: &SecretString,
    name: &str,
    connections: u32,
) -> Result<PgPool, Failure> {
    let (options, connect) = pool_options(url, name, connections)?;
    let options = options.after_connect(move |connection, _| {
        Box::pin(async move {
            sqlx::raw_sql(settings).execute(connection).await?;
            Ok(())
        })
    });
    Ok(options.connect_lazy_with(connect))
}

fn pool_options(
    url: &SecretString,
    name: &str,
    connections: u32,
) -> Result<(PgPoolOptions, PgConnectOptions), Failure> {
    let options: PgConnectOptions = url
        .expose_secret()
        .parse()
        // What is wrong with it could repeat the password.
        .map_err(|_: sqlx::Error| {
            Failure::usage("the database URL is malformed: postgres://USER:PASSWORD@HOST/DATABASE")
        })?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT);
    Ok((pool, options.application_name(name)))
}

/// The keys that seal credentials at rest.
#[expect(clippy::struct_field_names, reason = "the fields are the names of arguments")]
#[derive(Args, Clone)]
#[command(next_help_heading = "Sealing")]
pub(crate) struct SealingArgs {
    /// Key that seals credentials at rest: 32 random bytes in hex or base64. There is no default
    #[arg(
        long,
        env = "FLEETLOG_SEALING_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    sealing_key: Option<SecretString>,
    /// File that holds it
    #[arg(
        long,
        env = "FLEETLOG_SEALING_KEY_FILE",
        value_name = "FILE",
        conflicts_with = "sealing_key"
    )]
    sealing_key_file: Option<PathBuf>,
    /// Earlier keys, which unseal what they sealed until `fleetlog sealing-key rotate` has run
    #[arg(
        long,
        env = "FLEETLOG_SEALING_OLD_KEYS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "KEY,…"
    )]
    sealing_old_keys: Vec<SecretString>,
    /// Files that hold earlier keys
    #[arg(
        long,
        env = "FLEETLOG_SEALING_OLD_KEY_FILES",
        value_delimiter = ',',
        value_name = "FILE,…"
    )]
    sealing_old_key_files: Vec<PathBuf>,
}

impl SealingArgs {
    /// All keys that were given.
    pub(crate) fn keyring(&self) -> Result<Keyring, Failure> {
        let active = match (&self.sealing_key, &self.sealing_key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(file)) => door::read_secret(file)?,
            (None, None) => {
                let needed = "FLEETLOG_SEALING_KEY or FLEETLOG_SEALING_KEY_FILE is needed (`fleetlog sealing-key generate` makes a key)";
                return Err(Failure::usage(needed));
            }
        };
        // A variable that is set to nothing names no key.
        let given = self.sealing_old_keys.iter();
        let mut old: Vec<_> = given
            .filter(|key| !key.expose_secret().is_empty())
            .cloned()
            .collect();
        let files = self.sealing_old_key_files.iter();
        for file in files.filter(|file| !file.as_os_str().is_empty()) {
            old.push(door::read_secret(file)?);
        }
        let key = |text: &SecretString| SealingKey::from_text(text).map_err(Failure::usage);
        let old = old.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Keyring::new(key(&active)?, old))
    }
}

/// Where the world reaches `ingest`.
#[derive(Args, Clone)]
pub(crate) struct PublicUrl {
    /// Base of the URL at which senders reach ingest
    #[arg(
        long,
        env = "FLEETLOG_PUBLIC_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    public_url: String,
}

impl PublicUrl {
    /// Where an integration's deliveries go.
    pub(crate) fn of(&self, integration: IntegrationId) -> String {
        door::webhook_url(&self.public_url, integration)
    }
}

/// Who does it.
#[derive(Args, Clone)]
#[command(next_help_heading = "Record")]
pub(crate) struct AuthorArgs {
    /// Who does this, for the record
    #[arg(long, env = "FLEETLOG_AUTHOR", value_name = "NAME")]
    author: Option<String>,
    /// The user's name in the system.
    #[arg(long, env = "USER", hide = true, default_value = "unknown")]
    system_user: String,
}

impl AuthorArgs {
    /// Their name.
    pub(crate) fn author(&self) -> &str {
        self.author.as_deref().unwrap_or(&self.system_user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_pairs_and_the_rest_is_comment() {
        let text = "# who we are\nsasl.username = me \n\nsasl.password=a=b\n";
        let expected = [("sasl.username", "me"), ("sasl.password", "a=b")];
        let expected: Vec<_> = expected
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
        assert_eq!(parse_properties(text, '\n').unwrap(), expected);
    }

    #[test]
    fn a_malformed_secret_is_not_repeated() {
        let refused = parse_properties("hunter2", ',').unwrap_err();
        assert!(!format!("{refused:#}").contains("hunter2"));
        let refused = pool(&SecretString::from("hunter2"), "test", 1).err();
        assert!(refused.is_some_and(|error| !format!("{error:?}").contains("hunter2")));
    }
}
