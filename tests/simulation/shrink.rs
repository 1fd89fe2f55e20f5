//! A failing plan made short: chunks of steps are dropped while it still fails.

use crate::mutation::Mutation;
use crate::plan::Plan;
use crate::run;

/// Runs spent on one plan.
const TRIES_MAX: usize = 3_000;

/// The shortest plan found that still fails, and how it fails.
pub fn shrink(plan: &Plan, mutation: Mutation, why: String) -> (Plan, String) {
    let (mut best, mut why) = (plan.clone(), why);
    let mut tries = 0;
    let mut chunk = (best.steps.len() / 2).max(1);
    loop {
        let mut shorter = false;
        let mut at = 0;
        while at < best.steps.len() && tries < TRIES_MAX {
            let mut candidate = best.clone();
            let end = (at + chunk).min(candidate.steps.len());
            candidate.steps.drain(at..end);
            tries += 1;
            match run(&candidate, mutation, false) {
                Err(reason) => {
                    (best, why, shorter) = (candidate, reason, true);
                }
                Ok(()) => at += chunk,
            }
        }
        if tries >= TRIES_MAX || (chunk == 1 && !shorter) {
            return (best, why);
        }
        if !shorter {
            chunk = (chunk / 2).max(1);
        }
    }
}
