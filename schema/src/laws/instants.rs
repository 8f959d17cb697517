use std::time::Duration;

use proptest::{option, prelude::*};

use crate::{BELIEVED_AHEAD, BELIEVED_BEHIND, Claimant, Micros, arbitrary::instant, believe};

proptest! {
    #[test]
    fn an_instant_reads_back_as_it_was_written(at in instant()) {
        prop_assert_eq!(at.to_string().parse::<Micros>(), Ok(at));
        prop_assert_eq!(Micros::from(at.to_datetime()), at);
        prop_assert_eq!(Micros::from_micros(at.as_micros()), Ok(at));
        let json = serde_json::to_string(&at).expect("a string");
        prop_assert_eq!(serde_json::from_str::<Micros>(&json).expect("an instant"), at);
    }

    #[test]
    fn texts_sort_as_instants_do(left in instant(), right in instant()) {
        prop_assert_eq!(left.to_string().cmp(&right.to_string()), left.cmp(&right));
    }

    #[test]
    fn seconds_and_nanoseconds_are_cut_towards_the_past(at in instant(), nanos in 0_i64..1_000) {
        let seconds = at.as_micros().div_euclid(1_000_000);
        let nanos = at.as_micros().rem_euclid(1_000_000) * 1_000 + nanos;
        prop_assert_eq!(Micros::from_seconds_nanos(seconds, nanos), Ok(at));
    }

    #[test]
    fn no_numbers_and_no_text_are_fatal(seconds in any::<i64>(), nanos in any::<i64>(), text in ".{0,40}") {
        drop(Micros::from_seconds_nanos(seconds, nanos));
        drop(Micros::from_micros(seconds));
        drop(text.parse::<Micros>());
    }

    #[test]
    fn sums_stay_within_the_calendar(at in instant(), seconds in any::<u64>()) {
        let by = Duration::from_secs(seconds);
        prop_assert!(at.minus(by) <= at && at <= at.plus(by));
        prop_assert_eq!(at.plus(by).to_string().parse::<Micros>(), Ok(at.plus(by)));
        prop_assert_eq!(at.minus(by).to_string().parse::<Micros>(), Ok(at.minus(by)));
    }

    #[test]
    fn a_claim_is_believed_whole_or_kept_aside(
        claim in option::of(instant()),
        received in instant(),
        device in any::<bool>(),
        near in -40_000_000_i64..40_000_000,
    ) {
        let claimant = if device { Claimant::Device } else { Claimant::Provider };
        let nearby = Micros::from_micros(received.as_micros().saturating_add(near * 1_000)).ok();
        for claim in [claim, nearby] {
            let timing = believe(claim, claimant, received);
            match (claim, timing.disbelieved) {
                (Some(claim), None) => prop_assert_eq!(timing.at, claim),
                (claim, disbelieved) => {
                    prop_assert_eq!(timing.at, received);
                    prop_assert_eq!(disbelieved, claim);
                }
            }
            prop_assert!(timing.at <= received.plus(BELIEVED_AHEAD));
            prop_assert!(!device || timing.at >= received.minus(BELIEVED_BEHIND));
            let past_of_a_provider = !device && claim.is_some_and(|claim| claim <= received);
            prop_assert!(!past_of_a_provider || timing.disbelieved.is_none());
            // Whether a claim is believed depends on nothing but claim and receipt.
            prop_assert_eq!(believe(claim, claimant, received), timing);
        }
    }
}
