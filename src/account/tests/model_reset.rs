//! The reset as the contract has it, for the model account.

use countersign_schemas::time::Micros;

use super::model::{Model, Word, World};
use super::reset_words::Step;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;

/// An open case.
#[derive(Debug)]
pub(super) struct Case {
    nth: usize,
    asked_by: &'static str,
    asked_at: Micros,
    approved_at: Option<Micros>,
}

impl Model {
    pub(super) fn request_reset(&mut self, world: World) -> Result<(), Word> {
        self.needs_factor()?;
        if self.reset.as_ref().is_some_and(|case| !case.is_over(world)) {
            return Err("reset.open");
        }
        let is_recent =
            |(by, at): &&(&str, Micros)| *by == world.caller && world.now < at.plus_s(DAY_S);
        if self.asked.iter().filter(is_recent).count() >= 5 {
            return Err("quota.exceeded");
        }
        self.reset = Some(Case {
            nth: self.cases_made,
            asked_by: world.caller,
            asked_at: world.now,
            approved_at: None,
        });
        self.cases_made += 1;
        self.asked.push((world.caller, world.now));
        Ok(())
    }

    pub(super) fn step(&mut self, step: Step, nth: usize, world: World) -> Result<(), Word> {
        let case = match &mut self.reset {
            Some(case) if case.nth == nth && !case.is_over(world) => case,
            Some(case) if case.nth == nth => {
                self.reset = None;
                return Err("reset.closed");
            }
            Some(_) | None => return Err("reset.closed"),
        };
        match step {
            Step::Approve if case.asked_by == world.caller => return Err("approval.self"),
            Step::Approve => {
                let ends = case.asked_at.plus_s(7 * DAY_S);
                if case.approved_at.is_some() || world.now.plus_s(72 * HOUR_S) >= ends {
                    return Err("reset.closed");
                }
                case.approved_at = Some(world.now);
            }
            Step::Execute => {
                let approved_at = case.approved_at.ok_or("reset.cooling_off")?;
                if world.now < approved_at.plus_s(72 * HOUR_S) {
                    return Err("reset.cooling_off");
                }
                self.turn_off();
            }
            Step::Reject | Step::Cancel => self.reset = None,
        }
        Ok(())
    }

    pub(super) fn user_cancel(&mut self, world: World) -> Result<(), Word> {
        if !self.exists {
            return Err("account.not_found");
        }
        match self.reset.take_if(|case| !case.is_over(world)) {
            Some(_) => Ok(()),
            None => Err("reset.none"),
        }
    }

    pub(super) fn suspend(&mut self, world: World) -> Result<(), Word> {
        self.needs_factor()?;
        let has_open = self.challenges.iter().any(|open| open.is_open(world));
        if self.by_support && !has_open {
            return Err("factor.suspended");
        }
        self.suspended = true;
        self.by_support = true;
        self.challenges.clear();
        Ok(())
    }
}

impl Case {
    fn is_over(&self, world: World) -> bool {
        world.now >= self.asked_at.plus_s(7 * DAY_S)
    }
}
