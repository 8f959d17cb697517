//! Bringing Postgres to the state that this version needs.

use sqlx::PgPool;

use crate::ControlError;

/// Where it is written down what has been applied.
const TABLE: &str = "control.migrations";

/// Applies the files of `migrations/` that have not been applied yet. Safe to call twice, and from several places
/// at once. The pool must connect as the owner-to-be, who may create roles or finds them created.
pub async fn run(pool: &PgPool) -> Result<(), ControlError> {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.create_schema("control");
    migrator.dangerous_set_table_name(TABLE);
    migrator.run(pool).await?;
    Ok(())
}

/// Those that have not been applied yet, by name; changes nothing.
pub async fn pending(pool: &PgPool) -> Result<Vec<String>, ControlError> {
    let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM control.migrations WHERE success")
        .fetch_all(pool)
        .await?;
    let migrator = sqlx::migrate!("../migrations");
    let pending = migrator.iter().filter(|one| !applied.contains(&one.version));
    Ok(pending
        .map(|one| format!("{:04} {}", one.version, one.description))
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_embedded_migrations_are_ours_in_order() {
        let migrator = sqlx::migrate!("../migrations");
        let names: Vec<_> = migrator
            .iter()
            .map(|one| format!("{} {}", one.version, one.description))
            .collect();
        assert_eq!(names[..2], ["1 roles", "2 control"]);
        assert!(names.is_sorted_by_key(|name| name.split(' ').next().and_then(|n| n.parse::<i64>().ok())));
    }
}
