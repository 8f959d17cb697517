//! Which traces are told.

use opentelemetry_sdk::trace::Sampler;

/// Which traces are told: a share of those that begin here, and of others as their callers decided, or a share of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Whether what a caller decided about its trace holds here too.
    follows_parent: bool,
    /// The share that is told where nobody decided before: 0 none, 1 all.
    share: f64,
}

/// Why a sampler cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSampling {
    /// There is none of that name.
    #[error("there is no sampler {0:?}: one of {names}", names = Sampling::NAMES.join(", "))]
    Unknown(String),
    /// The share is none.
    #[error("the share of traces that are told is a number from 0 to 1, not {0:?}")]
    Share(String),
}

impl Sampling {
    /// The samplers of OpenTelemetry's specification that there are here.
    pub const NAMES: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    /// What is used unless it is said otherwise.
    pub const USUAL: &str = "parentbased_always_on";

    /// A sampler by the name that OpenTelemetry's specification gives it. `share` is for those with a ratio; none: all.
    pub fn named(name: &str, share: Option<&str>) -> Result<Self, InvalidSampling> {
        let bare = name.strip_prefix("parentbased_");
        let share = match bare.unwrap_or(name) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => share.map_or(Ok(1.0), parse_share)?,
            _ => return Err(InvalidSampling::Unknown(name.to_owned())),
        };
        Ok(Self {
            follows_parent: bare.is_some(),
            share,
        })
    }

    pub(super) fn sampler(self) -> Sampler {
        let sampler = Sampler::TraceIdRatioBased(self.share);
        if self.follows_parent {
            Sampler::ParentBased(Box::new(sampler))
        } else {
            sampler
        }
    }
}

fn parse_share(text: &str) -> Result<f64, InvalidSampling> {
    let share = text.trim().parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| InvalidSampling::Share(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("always_on", None, false, 1.0)]
    #[case("always_off", Some("1"), false, 0.0)]
    #[case("traceidratio", Some("0.25"), false, 0.25)]
    #[case("parentbased_always_on", None, true, 1.0)]
    #[case("parentbased_always_off", None, true, 0.0)]
    #[case("parentbased_traceidratio", Some("0"), true, 0.0)]
    #[case("parentbased_traceidratio", None, true, 1.0)]
    fn a_sampler_is_named(
        #[case] name: &str,
        #[case] arg: Option<&str>,
        #[case] follows_parent: bool,
        #[case] share: f64,
    ) {
        let expected = Sampling {
            follows_parent,
            share,
        };
        assert_eq!(Sampling::named(name, arg), Ok(expected));
        assert!(Sampling::NAMES.contains(&name));
    }

    #[rstest]
    #[case("jaeger_remote", None)]
    #[case("", None)]
    #[case("traceidratio", Some("2"))]
    #[case("traceidratio", Some("-0.1"))]
    #[case("traceidratio", Some("NaN"))]
    #[case("parentbased_traceidratio", Some("half"))]
    fn what_is_none_is_refused(#[case] name: &str, #[case] arg: Option<&str>) {
        assert!(Sampling::named(name, arg).is_err());
    }
}
