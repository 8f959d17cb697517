//! `fleetlog simulate`: a believable fleet, in the dialects that are really sent.

mod drive;
mod machine;
mod people;
mod plan;
mod telling;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use schema::Micros;

use self::{
    drive::Tally,
    people::{Decisions, PeopleArgs},
    plan::{Plan, Settings},
};
use crate::{
    clock,
    door::{self, Door, DoorArgs},
    failure::Failure,
    output,
};

/// Most deliveries of one run.
const MAX_DELIVERIES: f64 = 1e9;

/// Sends the traffic of a fleet: devices that boot, connect, measure, log, are updated, roll back, flap and go silent
///
/// Each device speaks one dialect: Golioth Pipelines as JSON or CBOR, with inject-metadata, structured CloudEvents, or
/// platform events in one of their three shapes. Which, depends on the way its webhook authenticates, since only what
/// is signed counts. Some deliveries come late, some twice.
///
/// The same seed, numbers and targets send the same bytes to the same places, times aside. With --start the times are
/// the same as well; signatures hold the true time, as a relay signs at each sending.
///
/// Of ten devices, seven end online (one of them on a bad link), two are reported offline and one falls silent, so that
/// it is late; one rolls its update back.
///
/// With --renames clouds change what they know of their devices, with --edits people do here: where both change the
/// metadata of one, there are conflicts, and people decide some of them.
///
/// Ends with what was sent and how it was answered, and fails unless every delivery was accepted with 202.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog simulate --targets .dev/sample/sample.json
  fleetlog simulate --devices 1000 --rate 2000 --duration 1m --seed 7 --targets targets.json
  fleetlog simulate --targets targets.json --renames --edits 2 --organization ID
  fleetlog simulate --url https://fleet.example.com --integration ID --scheme hmac-sha256 --secret-file secret

A file of targets:
  {\"integrations\": [{\"name\": \"a\", \"url\": \"http://…/v1/webhooks/ID\", \"scheme\": \"shared-secret\", \"secret\": \"…\",
                     \"project\": \"my-project\", \"header\": \"x-api-key\", \"prefix\": \"\", \"encoding\": \"hex\"}]}
  `url`, `scheme` and `secret` are needed.")]
pub(crate) struct Simulate {
    /// How many devices there are; they are dealt to the targets in turn
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// Deliveries per second, of all devices together
    #[arg(long, value_name = "R", default_value_t = 10.0)]
    rate: f64,
    /// How long to send, e.g. 30s, 10m
    #[arg(long, value_name = "D", default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// All chance follows from it
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// When the devices' day begins, RFC 3339 [default: so that it ends with the run]
    #[arg(long, value_name = "RFC3339")]
    start: Option<Micros>,
    /// How long the devices' day is, over which the times in the deliveries are spread
    #[arg(long, value_name = "D", default_value = "1h", value_parser = humantime::parse_duration)]
    span: Duration,
    /// Clouds rename devices and change their metadata: of ten devices one is renamed once, three get other metadata
    /// now and then
    #[arg(long)]
    renames: bool,
    #[command(flatten)]
    people: PeopleArgs,
    /// How many deliveries may be on their way at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// File that names the webhooks and their secrets, instead of the arguments for one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["integration", "scheme", "secret_file"])]
    targets: Option<PathBuf>,
    #[command(flatten)]
    door: DoorArgs,
    /// Print the count as JSON
    #[arg(long)]
    json: bool,
}

impl Simulate {
    /// Runs until all is sent, or interrupted.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let doors = match &self.targets {
            Some(file) => door::read_targets(file)?,
            None => vec![self.door.open()?],
        };
        let settings = self.settings(clock::now())?;
        let people = self.people.people(self.seed).await?;
        let progress = drive::progress(settings.deliveries);
        let plan = Plan::new(settings, doors.iter().map(Door::as_planned).collect());

        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let serials = plan.serials();
        let driving = drive::drive(plan, &doors, self.connections.into(), &progress, interrupted);
        let mut decisions = Decisions::default();
        let (sent, decisions) = match people {
            None => (driving.await, None),
            Some(people) => {
                let sent = tokio::select! {
                    sent = driving => sent,
                    () = people.work(&serials, &mut decisions) => unreachable!("they work until they are stopped"),
                };
                (sent, Some(decisions))
            }
        };
        progress.finish_and_clear();
        let mut tally = sent.map_err(anyhow::Error::from)?;
        tally.decisions = decisions;
        report(&tally, self.json)
    }

    fn settings(&self, now: Micros) -> Result<Settings, Failure> {
        let deliveries = (self.rate * self.duration.as_secs_f64()).round();
        if !self.rate.is_finite() || self.rate <= 0.0 || deliveries > MAX_DELIVERIES {
            return Err(Failure::usage(
                "--rate must be above 0, and a run has at most a billion deliveries",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be from 0 to a billion"
        )]
        let deliveries = deliveries as u64;
        let start = self
            .start
            .unwrap_or_else(|| now.plus(self.duration).minus(self.span));
        Ok(Settings {
            devices: self.devices,
            deliveries,
            duration: self.duration,
            start,
            span: self.span,
            seed: self.seed,
            renames: self.renames,
        })
    }
}

impl Door {
    fn as_planned(&self) -> plan::Door {
        plan::Door {
            scheme: self.scheme,
            project: self.project.clone(),
        }
    }
}

fn report(tally: &Tally, json: bool) -> Result<(), Failure> {
    if json {
        output::json(tally)?;
    } else {
        let answers: Vec<_> = tally
            .answered
            .iter()
            .map(|(status, n)| format!("{status}: {n}"))
            .collect();
        let (sent, bytes) = (tally.sent, indicatif::HumanBytes(tally.bytes));
        output::line(format!(
            "sent {sent} deliveries, {bytes}; answered {}",
            answers.join(", ")
        ))?;
        if let Some(decisions) = &tally.decisions {
            output::line(format!(
                "{} edits, {} of them decided a conflict; {} changed nothing, {} failed",
                decisions.edits, decisions.resolutions, decisions.passed_over, decisions.failed
            ))?;
        }
    }
    if let Some(trouble) = tally.decisions.as_ref().and_then(|it| it.first_trouble.as_ref()) {
        return Err(Failure::unavailable(format!(
            "not every edit was appended; the first: {trouble}"
        )));
    }
    let Some(trouble) = &tally.first_trouble else {
        return Ok(());
    };
    let what = format!("not every delivery was accepted; the first: {trouble}");
    if tally.may_help_again() {
        Err(Failure::unavailable(what))
    } else {
        Err(Failure::refused(what))
    }
}
