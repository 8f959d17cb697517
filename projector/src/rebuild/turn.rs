//! The one turn at generations: whoever rebuilds, promotes, rolls back or drops has it, for as long as it lives.

use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};

use super::RebuildError;
use crate::{
    generations::{self, GenerationError},
    sql::rebuilds,
};

/// The right to change generations. It ends with its connection: killed or cut off, the next may go on.
pub(crate) struct Turn(PgConnection);

impl Turn {
    /// Takes it, if nobody has it.
    pub(crate) async fn take(pool: &PgPool) -> Result<Self, RebuildError> {
        let mut connection = pool.acquire().await?.detach();
        if rebuilds::take_turn(&mut connection).await? {
            Ok(Self(connection))
        } else {
            Err(RebuildError::Busy)
        }
    }

    /// The connection that it lives with: what it writes is written by whoever has the turn.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }

    /// A transaction in which nobody else changes generations, as their owner.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_, Postgres>, GenerationError> {
        let mut transaction = self.0.begin().await?;
        generations::exclude_others(&mut transaction).await?;
        Ok(transaction)
    }
}
