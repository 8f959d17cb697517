//! Generations: projections live in schemas `gen_N`, and readers see one of them through the views of `fleet`.
//!
//! A generation is never renamed and never changes what filled it: a rebuild fills another beside it, and
//! [`activate`] turns the views over in one transaction. Whatever is made here belongs to role
//! `fleetlog_projector`, so that a projector may add partitions and fill a new generation; the pool may connect as
//! that role, as a superuser, or as whoever owns the database and may grant the role to itself.
//!
//! Each function is one transaction and takes its turn under an advisory lock: calling twice, or from several
//! places at once, is calling once.

mod ddl;
mod views;

use sqlx::{PgConnection, PgPool};
use strum::{EnumString, IntoStaticStr};
use time::OffsetDateTime;

use crate::{
    fold::FOLD_VERSION,
    rebuild::{RebuildError, Turn},
    sql::rebuilds,
};
pub(crate) use ddl::{KEYS, POLICIES};
#[cfg(test)]
pub(crate) use ddl::{TRUTH, columns_of};
use ddl::{
    act_as_projector, activate_within, begin, begin_within, create_within, install_within,
    select_generations, set_lock_timeout, take_turn,
};

/// How often the views are tried to be replaced while readers hold them. Each time waits up to five seconds, so that
/// whoever queues behind does not wait longer.
const ATTEMPTS: usize = 12;

/// Why generations cannot be read or changed. What failed changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The caller's to mend.
    #[error("a generation is called gen_ and a number; got {0:?}")]
    InvalidName(String),
    /// The caller's to mend.
    #[error("there is no generation {0}")]
    NoSuchGeneration(String),
    /// The caller's to mend.
    #[error("generation {0} is there already")]
    Exists(String),
    /// The database has not been prepared.
    #[error("no generation is active: `fleetlog migrate` makes the first one")]
    NoneActive,
    /// The database is of an earlier version.
    #[error("the database was migrated by an earlier version: run `fleetlog migrate`")]
    NotMigrated,
    /// A row that no version of ours has written.
    #[error("generation {generation} is in the unknown state {state:?}")]
    Unreadable {
        /// Its name.
        generation: String,
        /// What the row says.
        state: String,
    },
    /// The views have to change their shape, and others have built on them. The operator's to mend.
    #[error("drop these first, and make them again afterwards: {0}")]
    BuiltOn(String),
    /// Postgres cannot be reached or refused; trying again may help.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

impl GenerationError {
    /// Whether it was only that readers held the views: a lock was waited for too long, or in a circle.
    pub(crate) fn is_lost_race(&self) -> bool {
        matches!(self.code().as_deref(), Some("55P03" | "40P01" | "57014"))
    }

    /// Whether the views of now cannot take the place of those before: a column went or changed its type.
    fn is_other_shape(&self) -> bool {
        matches!(self.code().as_deref(), Some("42P16" | "42P13"))
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Database(error) => Some(error.as_database_error()?.code()?.into_owned()),
            Self::InvalidName(_)
            | Self::NoSuchGeneration(_)
            | Self::Exists(_)
            | Self::NoneActive
            | Self::NotMigrated
            | Self::BuiltOn(_)
            | Self::Unreadable { .. } => None,
        }
    }
}

/// What a generation is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// It is being filled; nobody reads it.
    Building,
    /// The views of `fleet` show it. At most one.
    Active,
    /// It was active; kept to go back to.
    Retired,
}

/// A generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its name, which is its schema's: `gen_` and a number.
    pub generation: String,
    /// What it is there for.
    pub state: State,
    /// The version of the rules that fill it.
    pub fold_version: i32,
    /// The log it is bound to, once a projector has written it.
    pub log_id: Option<String>,
    /// The number of that log's partitions.
    pub partitions: Option<i32>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Since when it is in its state.
    pub changed_at: OffsetDateTime,
}

/// The generation that readers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its name, which is its schema's.
    pub generation: String,
    /// The version of the rules that fill it.
    pub fold_version: i32,
    /// The log it is bound to, once a projector has written it.
    pub log_id: Option<String>,
    /// The number of that log's partitions.
    pub partitions: Option<i32>,
}

/// Makes schemas `projection_meta` and `fleet`, and gives role `fleetlog_projector` what it needs to own them.
/// The roles must be there.
pub async fn install(pool: &PgPool) -> Result<(), GenerationError> {
    let mut turn = begin(pool).await?;
    install_within(&mut turn).await?;
    Ok(turn.commit().await?)
}

/// Nobody else changes generations until this transaction ends, and what is made in it belongs to their owner.
pub(crate) async fn exclude_others(connection: &mut PgConnection) -> Result<(), GenerationError> {
    take_turn(connection).await?;
    act_as_projector(connection).await
}

/// Whoever queues behind this transaction does not wait longer than this for a lock that it waits for.
pub(crate) async fn wait_briefly(connection: &mut PgConnection) -> Result<(), GenerationError> {
    set_lock_timeout(connection).await
}

/// Makes sure that readers see this generation until the transaction ends.
pub(crate) async fn expect_active(
    connection: &mut PgConnection,
    generation: &str,
) -> Result<(), GenerationError> {
    let active = name_of_active(connection).await?;
    if active.as_deref() == Some(generation) {
        Ok(())
    } else {
        Err(GenerationError::NoSuchGeneration(generation.to_owned()))
    }
}

/// Lets readers see this generation from the end of the transaction on.
pub(crate) async fn turn_over(
    connection: &mut PgConnection,
    generation: &str,
) -> Result<(), GenerationError> {
    activate_within(connection, &Name::new(generation)?).await
}

/// Makes an empty generation, with its tables, grants and policies, to be filled by this version's fold. One that is
/// made `Active` takes the place of the present one.
pub async fn create(pool: &PgPool, generation: &str, state: State) -> Result<(), GenerationError> {
    let name = Name::new(generation)?;
    let mut turn = begin(pool).await?;
    act_as_projector(&mut turn).await?;
    let first_state = if state == State::Active {
        State::Building
    } else {
        state
    };
    create_within(&mut turn, &name, first_state).await?;
    if state == State::Active {
        activate_within(&mut turn, &name).await?;
    }
    Ok(turn.commit().await?)
}

/// Begins a generation that a rebuild will fill: its tables without keys and policies, under the next number. Nobody
/// reads it. Returns its name.
pub async fn begin_building(pool: &PgPool) -> Result<String, GenerationError> {
    let mut turn = begin(pool).await?;
    act_as_projector(&mut turn).await?;
    let present = select_generations(&mut turn).await?;
    let numbers = present.iter().filter_map(|one| Name::new(&one.generation).ok());
    let name = Name {
        number: numbers.map(|name| name.number).max().unwrap_or(0) + 1,
    };
    begin_within(&mut turn, &name, State::Building).await?;
    turn.commit().await?;
    Ok(name.to_string())
}

/// Throws a generation away that readers do not see. Killed half-way it is left as one that is being built, which
/// removing it again finishes.
pub(crate) async fn remove(turn: &mut Turn, generation: &str) -> Result<(), RebuildError> {
    let name = Name::new(generation)?;
    let mut transaction = turn.begin().await?;
    if let Some(dependants) = ddl::dependants(&mut transaction, &name).await? {
        return Err(GenerationError::BuiltOn(dependants).into());
    }
    rebuilds::abandon(&mut transaction, generation).await?;
    transaction.commit().await?;
    // A transaction that dropped years of days would hold more locks than there are.
    while ddl::drop_some_days(turn.connection(), &name).await? {}
    let mut transaction = turn.begin().await?;
    ddl::drop_rest(&mut transaction, &name).await?;
    Ok(transaction.commit().await?)
}

/// Lets readers see this generation: replaces the views of `fleet` in one transaction. The one they saw until now is
/// kept, retired.
pub async fn activate(pool: &PgPool, generation: &str) -> Result<(), GenerationError> {
    let name = Name::new(generation)?;
    for _ in 1..ATTEMPTS {
        match activate_once(pool, &name).await {
            Err(error) if error.is_lost_race() => {}
            ended => return ended,
        }
    }
    activate_once(pool, &name).await
}

/// The generation that readers see.
pub async fn active(pool: &PgPool) -> Result<Active, GenerationError> {
    let found = list(pool).await?;
    found
        .into_iter()
        .find(|one| one.state == State::Active)
        .map(Active::from)
        .ok_or(GenerationError::NoneActive)
}

/// The name of the generation that readers see.
pub(crate) async fn name_of_active(connection: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT generation FROM projection_meta.generations WHERE state = 'active'")
        .fetch_optional(connection)
        .await
}

/// All generations, by number.
pub async fn list(pool: &PgPool) -> Result<Vec<Generation>, GenerationError> {
    let found = select_generations(&mut *pool.acquire().await?).await;
    found.map_err(|error| match error.code().as_deref() {
        // Neither schema nor table is there.
        Some("3F000" | "42P01") => GenerationError::NoneActive,
        // A column is not.
        Some("42703") => GenerationError::NotMigrated,
        _ => error,
    })
}

/// Brings the database to where a projector can start and readers can read: the first call makes `gen_1` and
/// activates it, later ones renew the views of the active generation.
pub async fn ensure(pool: &PgPool) -> Result<Active, GenerationError> {
    for _ in 1..ATTEMPTS {
        match ensure_once(pool).await {
            Err(error) if error.is_lost_race() => {}
            ended => return ended,
        }
    }
    ensure_once(pool).await
}

async fn ensure_once(pool: &PgPool) -> Result<Active, GenerationError> {
    let mut turn = begin(pool).await?;
    install_within(&mut turn).await?;
    let present = select_generations(&mut turn).await?;
    let newest = present
        .iter()
        .filter_map(|one| Name::new(&one.generation).ok())
        .map(|name| name.number)
        .max();
    match present.into_iter().find(|one| one.state == State::Active) {
        // Its tables are of other rules: these views need not fit them. A rebuild turns over.
        Some(other) if other.fold_version != FOLD_VERSION => {
            tracing::warn!(
                generation = %other.generation, held.version = other.fold_version, own.version = FOLD_VERSION,
                "generation {} was filled by other rules; its views stay as they are until a rebuild",
                other.generation,
            );
        }
        Some(active) => views::replace(&mut turn, &Name::new(&active.generation)?).await?,
        None => {
            let name = Name {
                number: newest.unwrap_or(0) + 1,
            };
            create_within(&mut turn, &name, State::Building).await?;
            activate_within(&mut turn, &name).await?;
        }
    }
    let active = select_generations(&mut turn)
        .await?
        .into_iter()
        .find(|one| one.state == State::Active);
    turn.commit().await?;
    active.map(Active::from).ok_or(GenerationError::NoneActive)
}

async fn activate_once(pool: &PgPool, name: &Name) -> Result<(), GenerationError> {
    let mut turn = begin(pool).await?;
    act_as_projector(&mut turn).await?;
    activate_within(&mut turn, name).await?;
    Ok(turn.commit().await?)
}

/// A generation's name. Being made of a number it is safe in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    number: u32,
}

impl Name {
    fn new(text: &str) -> Result<Self, GenerationError> {
        let number = text.strip_prefix("gen_").and_then(|digits| digits.parse().ok());
        number
            .map(|number| Self { number })
            // One spelling only: no sign, no leading zero.
            .filter(|name| name.to_string() == text)
            .ok_or_else(|| GenerationError::InvalidName(text.chars().take(80).collect()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gen_{}", self.number)
    }
}

impl From<Generation> for Active {
    fn from(one: Generation) -> Self {
        let Generation {
            generation,
            fold_version,
            log_id,
            partitions,
            ..
        } = one;
        Self {
            generation,
            fold_version,
            log_id,
            partitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generations_name_has_one_spelling() {
        for good in ["gen_1", "gen_42"] {
            assert_eq!(Name::new(good).expect("valid").to_string(), good);
        }
        for bad in [
            "",
            "gen_",
            "gen_01",
            "gen_+1",
            "gen_-1",
            "gen_1; DROP",
            "fleet",
            "GEN_1",
        ] {
            assert!(Name::new(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn every_view_is_explained() {
        // Columns are compared on the stack.
        let [_, views @ .., comments, grants] = views::FLEET;
        let defined = views
            .iter()
            .flat_map(|part| named(part, "CREATE OR REPLACE VIEW fleet."));
        let mut defined: Vec<_> = defined.collect();
        let mut commented: Vec<_> = named(comments, "COMMENT ON VIEW fleet.").collect();
        defined.sort_unstable();
        commented.sort_unstable();
        assert_eq!(defined, commented);
        assert!(grants.contains("fleetlog_operator"));
    }

    fn named<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        text.lines()
            .filter_map(move |line| line.strip_prefix(prefix)?.split(' ').next())
    }
}
