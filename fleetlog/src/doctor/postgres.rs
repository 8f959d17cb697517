//! The database: migrations, who may what, generations, clock.

use projector::{
    FOLD_VERSION,
    generations::{self, Generation, State},
};

use super::{
    Look,
    finding::{Finding, judge_clock, of},
    sql,
};
use crate::clock;

/// Looks at all of it.
pub(super) async fn look(look: &Look) -> Vec<Finding> {
    let reached = look.within("postgres", reached(look)).await;
    if let Err(finding) = reached {
        let unknown = |check| Finding::skipped(check, "not known while PostgreSQL cannot be asked");
        let mut findings = vec![finding];
        findings.extend(["postgres-clock", "migrations", "grants", "generations"].map(unknown));
        return findings;
    }
    vec![
        of(reached),
        of(look.within("postgres-clock", postgres_clock(look)).await),
        of(look.within("migrations", migrations(look)).await),
        of(look.within("grants", grants(look)).await),
        of(look.within("generations", generations(look)).await),
    ]
}

async fn reached(look: &Look) -> Result<Finding, Finding> {
    let version = sql::version(&look.pool).await.map_err(|error| {
        let remedy = "see whether it runs, and whether FLEETLOG_ADMIN_DATABASE_URL is right";
        Finding::failed("postgres", error.to_string(), remedy)
    })?;
    Ok(Finding::ok("postgres", format!("version {version} answers")))
}

fn failed(check: &'static str) -> impl Fn(sqlx::Error) -> Finding {
    move |error| {
        Finding::failed(
            check,
            error.to_string(),
            "see `postgres`; is this the owner of the tables?",
        )
    }
}

async fn postgres_clock(look: &Look) -> Result<Finding, Finding> {
    // Connected before, so that only the question is timed.
    let mut connection = look.pool.acquire().await.map_err(failed("postgres-clock"))?;
    let before = clock::now().as_micros();
    let there = sql::clock(&mut connection)
        .await
        .map_err(failed("postgres-clock"))?;
    let after = clock::now().as_micros();
    Ok(judge_clock(
        "postgres-clock",
        "PostgreSQL's clock",
        there - before.midpoint(after),
        (after - before) / 2,
    ))
}

async fn migrations(look: &Look) -> Result<Finding, Finding> {
    let remedy = "run `fleetlog migrate`";
    let missing = control::migrate::pending(&look.pool).await;
    let missing = missing.map_err(|error| Finding::failed("migrations", error.to_string(), remedy))?;
    Ok(if missing.is_empty() {
        Finding::ok("migrations", "all are applied")
    } else {
        let found = format!("not applied: {}", missing.join(", "));
        Finding::failed("migrations", found, remedy)
    })
}

async fn grants(look: &Look) -> Result<Finding, Finding> {
    let missing = sql::missing_grants(&look.pool).await.map_err(failed("grants"))?;
    Ok(if missing.is_empty() {
        Finding::ok(
            "grants",
            "fleetlog_ingest, _projector, _operator and _api may do what they must",
        )
    } else {
        let remedy = "run `fleetlog migrate`; what others revoked has to be granted again by hand";
        Finding::failed("grants", missing.join("; "), remedy)
    })
}

async fn generations(look: &Look) -> Result<Finding, Finding> {
    let all = generations::list(&look.pool)
        .await
        .map_err(|error| Finding::failed("generations", error.to_string(), "run `fleetlog migrate`"))?;
    Ok(judge_generations(&all))
}

fn judge_generations(all: &[Generation]) -> Finding {
    let check = "generations";
    let names = |state| {
        let of_state = all.iter().filter(move |one| one.state == state);
        let names: Vec<_> = of_state.map(|one| one.generation.as_str()).collect();
        names.join(", ")
    };
    let Some(active) = all.iter().find(|one| one.state == State::Active) else {
        return Finding::failed(check, "readers see none", "run `fleetlog migrate`");
    };
    let Generation {
        generation,
        fold_version,
        ..
    } = active;
    let (building, retired) = (names(State::Building), names(State::Retired));
    if *fold_version != FOLD_VERSION {
        return Finding::failed(
            check,
            format!("{generation} was filled by rules {fold_version}, this version has {FOLD_VERSION}"),
            "run `fleetlog rebuild`: projectors of this version do not write it",
        );
    }
    if !building.is_empty() {
        return Finding::warning(
            check,
            format!("readers see {generation}; {building} is being built, or was left"),
            "if no rebuild runs, run `fleetlog rebuild` to go on with it, or `fleetlog generations drop`",
        );
    }
    let kept = if retired.is_empty() {
        String::new()
    } else {
        format!("; {retired} is kept to go back to")
    };
    Finding::ok(check, format!("readers see {generation}, of these rules{kept}"))
}
