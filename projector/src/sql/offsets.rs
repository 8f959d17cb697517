//! Who owns a partition, and how far it is folded.

use schema::Topic;
use sqlx::PgConnection;

/// A partition of a topic that this projector owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    /// The next offset to fold.
    pub(crate) next: i64,
    /// Under which this projector owns it.
    pub(crate) epoch: i64,
}

/// Binds a generation to a log, if no other log is bound to it.
pub(crate) async fn bind_log(
    connection: &mut PgConnection,
    generation: &str,
    log: &stream::LogIdentity,
) -> sqlx::Result<bool> {
    let bound = sqlx::query(
        "UPDATE projection_meta.generations
            SET log_id = $2, partitions = $3
          WHERE generation = $1 AND coalesce(log_id, $2) = $2 AND coalesce(partitions, $3) = $3",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(log.partitions)
    .execute(connection)
    .await?;
    Ok(bound.rows_affected() == 1)
}

/// Makes this projector the owner of partitions: raises their epochs. Those bound to another log are left out.
pub(crate) async fn take_over(
    connection: &mut PgConnection,
    generation: &str,
    log: &stream::LogIdentity,
    owner: &str,
    places: &[(Topic, i32)],
) -> sqlx::Result<Vec<Place>> {
    let topics: Vec<&str> = places.iter().map(|(topic, _)| topic.suffix()).collect();
    let partitions: Vec<i32> = places.iter().map(|(_, partition)| *partition).collect();
    let rows: Vec<(String, i32, i64, i64)> = sqlx::query_as(
        "INSERT INTO projection_meta.offsets AS held
                (generation, topic, partition, log_id, next_offset, owner_epoch, owner)
         SELECT $1, place.topic, place.partition, $2, 0, 1, $3
           FROM unnest($4::text[], $5::integer[]) AS place (topic, partition)
          ORDER BY 2, 3
             ON CONFLICT (generation, topic, partition) DO UPDATE
            SET owner_epoch = held.owner_epoch + 1, owner = EXCLUDED.owner, updated_at = now()
          WHERE held.log_id = EXCLUDED.log_id
         RETURNING topic, partition, next_offset, owner_epoch",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(owner)
    .bind(topics)
    .bind(partitions)
    .fetch_all(connection)
    .await?;
    Ok(read(places, rows))
}

/// What is written of partitions now.
pub(crate) async fn look_up(
    connection: &mut PgConnection,
    generation: &str,
    places: &[(Topic, i32)],
) -> sqlx::Result<Vec<Place>> {
    let rows: Vec<(String, i32, i64, i64)> = sqlx::query_as(
        "SELECT topic, partition, next_offset, owner_epoch FROM projection_meta.offsets WHERE generation = $1",
    )
    .bind(generation)
    .fetch_all(connection)
    .await?;
    Ok(read(places, rows))
}

fn read(places: &[(Topic, i32)], rows: Vec<(String, i32, i64, i64)>) -> Vec<Place> {
    let place = |(topic, partition, next, epoch): (String, i32, i64, i64)| {
        let named = |place: &&(Topic, i32)| place.0.suffix() == topic && place.1 == partition;
        places.iter().find(named).map(|&(topic, partition)| Place {
            topic,
            partition,
            next,
            epoch,
        })
    };
    rows.into_iter().filter_map(place).collect()
}

/// Advances partitions to these offsets, if each is still owned under its epoch and stands where its owner believes.
///
/// First in a transaction: `false` means that it must fail whole.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    generation: &str,
    log: &stream::LogIdentity,
    places: &[(Place, i64)],
) -> sqlx::Result<bool> {
    let topics: Vec<&str> = places.iter().map(|(place, _)| place.topic.suffix()).collect();
    let partitions: Vec<i32> = places.iter().map(|(place, _)| place.partition).collect();
    let before: Vec<i64> = places.iter().map(|(place, _)| place.next).collect();
    let after: Vec<i64> = places.iter().map(|(_, next)| *next).collect();
    let epochs: Vec<i64> = places.iter().map(|(place, _)| place.epoch).collect();
    let advanced = sqlx::query(
        "UPDATE projection_meta.offsets AS held
            SET next_offset = place.next_offset, updated_at = now()
           FROM unnest($3::text[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[])
                AS place (topic, partition, before, next_offset, owner_epoch)
          WHERE held.generation = $1 AND held.log_id = $2
            AND held.topic = place.topic AND held.partition = place.partition
            AND held.next_offset = place.before AND held.owner_epoch = place.owner_epoch",
    )
    .bind(generation)
    .bind(log.log_id.as_str())
    .bind(topics)
    .bind(partitions)
    .bind(before)
    .bind(after)
    .bind(epochs)
    .execute(connection)
    .await?;
    Ok(usize::try_from(advanced.rows_affected()).is_ok_and(|n| n == places.len()))
}
