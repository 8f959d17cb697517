//! One test's share of the stack: a database, topics, an organization.

use std::{future::Future, net::SocketAddr, path::PathBuf, process::Stdio, rc::Rc};

use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::{Command, Role, process};

/// Partitions of each topic in tests.
const PARTITIONS: &str = "3";

/// A database and topics of this test alone.
pub struct Stack {
    name: String,
    server_url: String,
    database_url: String,
    environment: Vec<(String, String)>,
    /// A folder for files of this test.
    pub folder: PathBuf,
    /// What the operator's role sees.
    pub operator: PgPool,
    /// What the owner sees.
    pub admin: PgPool,
    /// Where the log is.
    pub log: stream::LogConfig,
}

/// An integration with the secret of its first credential.
#[derive(Clone, Debug)]
pub struct Integration {
    /// Its id.
    pub id: String,
    /// Where it is delivered to, at the door it was made for.
    pub url: String,
    /// The first credential.
    pub credential_id: String,
    /// Its secret, in clear.
    pub secret: String,
    /// The Golioth project it is bound to.
    pub project: Option<String>,
}

/// Runs a test with a share of the stack, and takes that away again whether it passes or fails.
pub fn on_stack<T: Future<Output = ()> + 'static>(test: impl FnOnce(Rc<Stack>) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let stack = Rc::new(runtime.block_on(Stack::create()));
    let held = stack.clone();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(test(held))));
    runtime.block_on(stack.remove());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// The server's administrator in another role: passwords of roles belong to the whole server.
fn in_role(database_url: &str, role: &str) -> String {
    format!("{database_url}?options[role]=fleetlog_{role}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the tests' configuration is read"
)]
pub(crate) fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `eval \"$(./dev stack env)\"` sets it"))
}

impl Stack {
    /// Takes a share of the stack.
    pub async fn create() -> Self {
        let name = format!("t{}", &Uuid::new_v4().simple().to_string()[..10]);
        let server = required("FLEETLOG_TEST_ADMIN_DATABASE_URL");
        let brokers = required("FLEETLOG_TEST_KAFKA_BROKERS");
        let mut connection = PgConnection::connect(&server).await.expect("PostgreSQL answers");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("a database can be made");

        let (base, _) = server.rsplit_once('/').expect("the URL names a database");
        let admin_url = format!("{base}/{name}");
        let in_role = |role: &str| in_role(&admin_url, role);
        let folder = std::env::temp_dir().join(format!("fleetlog-{name}"));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let environment = [
            ("KAFKA_BROKERS", brokers.clone()),
            ("FLEETLOG_TOPIC_PREFIX", name.clone()),
            ("FLEETLOG_SINGLE_BROKER", "true".to_owned()),
            ("FLEETLOG_SEALING_KEY", hex::encode((10..42).collect::<Vec<u8>>())),
            ("FLEETLOG_ADMIN_DATABASE_URL", admin_url.clone()),
            ("FLEETLOG_PROJECTOR_DATABASE_URL", in_role("projector")),
            ("FLEETLOG_CONTROL_DATABASE_URL", in_role("ingest")),
            ("DATABASE_URL", in_role("operator")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();

        let lazily = |url: &str| {
            PgPoolOptions::new()
                .max_connections(2)
                .connect_lazy(url)
                .expect("a URL")
        };
        let stack = Self {
            operator: lazily(&in_role("operator")),
            admin: lazily(&admin_url),
            log: stream::LogConfig {
                brokers,
                prefix: name.clone(),
                single_broker: true,
                properties: Vec::new(),
            },
            name,
            database_url: admin_url.clone(),
            server_url: server,
            environment,
            folder,
        };
        stack
            .fleetlog(&["topics", "create", "--partitions", PARTITIONS])
            .await;
        stack.fleetlog(&["migrate"]).await;
        stack
    }

    /// Gives it back.
    pub async fn remove(&self) {
        self.release().await;
        std::fs::remove_dir_all(&self.folder).expect("the folder can be removed");
    }

    /// Gives topics and database back, and keeps the folder.
    pub async fn release(&self) {
        self.operator.close().await;
        self.admin.close().await;
        stream::topics::delete(&self.log)
            .await
            .expect("the topics can be deleted");
        let mut connection = PgConnection::connect(&self.server_url)
            .await
            .expect("PostgreSQL answers");
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "DROP DATABASE {} WITH (FORCE)",
            self.name
        )))
        .execute(&mut connection)
        .await
        .expect("the database can be dropped");
    }

    /// What its roles and commands are told.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// A pool in one of the database's roles: `operator`, `api`, `ingest`, `projector`.
    pub fn pool_as(&self, role: &str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy(&in_role(&self.database_url, role))
            .expect("a URL")
    }

    /// Where PostgreSQL listens.
    pub fn postgres_address(&self) -> SocketAddr {
        let host = self
            .database_url
            .rsplit('@')
            .next()
            .and_then(|rest| rest.split('/').next());
        host.and_then(|host| host.parse().ok())
            .expect("the URL names an address and a port")
    }

    /// The URL that a variable of the roles holds, with PostgreSQL reached at another address.
    pub fn through(&self, variable: &str, proxy: SocketAddr) -> String {
        let (_, url) = self
            .environment
            .iter()
            .find(|(name, _)| name == variable)
            .expect("a known variable");
        url.replace(&self.postgres_address().to_string(), &proxy.to_string())
    }

    /// Runs a command to its end; returns its exit code, output and errors.
    pub async fn try_fleetlog(&self, args: &[&str]) -> (i32, String, String) {
        let output = tokio::process::Command::new(process::binary())
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// Starts a command and leaves it to itself.
    pub fn start(&self, args: &[&str]) -> Command {
        let name = format!("{}-{}.err", args[0], Uuid::new_v4().simple());
        Command::start(args, &self.environment, &self.folder.join(name))
    }

    /// Runs a command that must succeed; returns its output.
    pub async fn fleetlog(&self, args: &[&str]) -> String {
        let (code, output, errors) = self.try_fleetlog(args).await;
        assert_eq!(code, 0, "fleetlog {}: {output}{errors}", args.join(" "));
        output
    }

    /// Runs a command that must succeed and prints one JSON value.
    pub async fn fleetlog_json(&self, args: &[&str]) -> Value {
        let output = self.fleetlog(args).await;
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error} in {output:?}"))
    }

    /// The same with some variables of its own.
    pub async fn fleetlog_json_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Value {
        let output = tokio::process::Command::new(process::binary())
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "fleetlog {}: {errors}", args.join(" "));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }

    /// Starts a role with the whole environment of this stack.
    pub async fn role(&self, args: &[&str]) -> Role {
        self.role_with(args, &[]).await
    }

    /// Starts a role with some variables of its own.
    pub async fn role_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Role {
        Role::start(args, &self.environment_with(variables), &self.log_of(args)).await
    }

    /// Starts a role none of whose files can grow beyond so many bytes.
    pub async fn role_with_files_of(&self, bytes: u64, args: &[&str], variables: &[(&str, &str)]) -> Role {
        let environment = self.environment_with(variables);
        Role::start_with_files_of(bytes, args, &environment, &self.log_of(args)).await
    }

    fn environment_with(&self, variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let added = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.iter().cloned().chain(added).collect()
    }

    fn log_of(&self, args: &[&str]) -> PathBuf {
        self.folder
            .join(format!("{}-{}.log", args[0], Uuid::new_v4().simple()))
    }

    /// A door that is ready.
    pub async fn ingest(&self) -> Role {
        self.role(&["ingest"]).await.ready().await
    }

    /// A fold that is ready.
    pub async fn projector(&self) -> Role {
        self.role(&["projector"]).await.ready().await
    }

    /// A new organization's id.
    pub async fn organization(&self) -> String {
        let name = format!("org-{}", Uuid::new_v4().simple());
        text(
            &self
                .fleetlog_json(&["organization", "create", &name, "--json"])
                .await,
            "organization_id",
        )
    }

    /// A new integration with a shared secret, delivered to at `door`.
    pub async fn integration(&self, door: &Role, organization: &str, project: Option<&str>) -> Integration {
        let name = format!("int-{}", Uuid::new_v4().simple());
        let mut args = vec![
            "integration",
            "create",
            &name,
            "--organization",
            organization,
            "--provider",
            "golioth",
            "--json",
        ];
        args.extend(project.iter().flat_map(|project| ["--project", project]));
        let made = self.fleetlog_json(&args).await;
        let id = text(&made, "integration_id");
        Integration {
            url: format!("{}/v1/webhooks/{id}", door.url),
            id,
            credential_id: text(&made, "credential_id"),
            secret: text(&made, "secret"),
            project: project.map(ToOwned::to_owned),
        }
    }

    /// A new integration with one credential of another scheme, delivered to at `door`.
    pub async fn integration_with(
        &self,
        door: &Role,
        organization: &str,
        credential: &[&str],
    ) -> Integration {
        self.integration_at(&door.url, organization, &[], credential)
            .await
    }

    /// The same at the base URL of a door, with options of its own.
    pub async fn integration_at(
        &self,
        door: &str,
        organization: &str,
        options: &[&str],
        credential: &[&str],
    ) -> Integration {
        let name = format!("int-{}", Uuid::new_v4().simple());
        let create = [
            "integration",
            "create",
            &name,
            "--organization",
            organization,
            "--provider",
            "golioth",
            "--no-credential",
            "--json",
        ];
        let made = self.fleetlog_json(&[&create[..], options].concat()).await;
        let id = text(&made, "integration_id");
        let (credential_id, secret) = self.credential(&id, credential).await;
        let url = format!("{door}/v1/webhooks/{id}");
        Integration {
            url,
            id,
            credential_id,
            secret,
            project: None,
        }
    }

    /// Adds a credential; returns its id and secret.
    pub async fn credential(&self, integration: &str, options: &[&str]) -> (String, String) {
        let mut args = vec!["credential", "add", integration, "--json"];
        args.extend(options);
        let made = self.fleetlog_json(&args).await;
        (text(&made, "credential_id"), text(&made, "secret"))
    }

    /// The devices of an organization as `fleetlog device list --json` prints them.
    pub async fn devices(&self, organization: &str) -> Vec<Value> {
        let output = self
            .fleetlog(&["device", "list", "--organization", organization, "--json"])
            .await;
        output
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect()
    }

    /// Rows of a query as JSON, seen by the operator's role.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let query = format!("SELECT to_jsonb(q) FROM ({query}) q");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_all(&self.operator)
            .await
            .expect("the query runs")
    }
}

/// A string field of a JSON object.
#[track_caller]
fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} is missing in {value}"))
        .to_owned()
}
