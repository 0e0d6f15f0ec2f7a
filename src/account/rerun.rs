//! A recorded decision made again: the account as it was before, the policy that was in force, and
//! the evidence that the events themselves hold.
//!
//! What the log does not keep is put in by a stand-in that no rule looks into: the code's digits,
//! the password, the challenge's id. What is sealed and what was random is taken over from the
//! record. Everything else must come out as it was recorded.

use countersign_schemas::event::Event;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::policy::Policy;
use super::rerun_scene::scene;
use super::{Account, Ctx, Decision, decide};

/// A group of events as it was recorded, with what was in force then.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The account right before.
    pub before: &'a Account,
    /// The account's id.
    pub account_id: &'a str,
    /// The group's events.
    pub events: &'a [Event],
    /// Log time of the decision.
    pub at: Micros,
    /// Who asked.
    pub caller: &'a str,
    /// Keyed hash of where the request came from.
    pub source_key: [u8; 8],
    /// The numbers that were in force.
    pub policy: &'a Policy,
}

/// What came of deciding again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// The same events.
    Same,
    /// Others; said in words.
    Different(String),
    /// It is no decision that this build makes again; why.
    Not(&'static str),
}

/// Decides again and compares.
pub fn rerun(recording: &Recording) -> Rerun {
    let scene = match scene(recording) {
        Ok(scene) => scene,
        Err(why) => return Rerun::Not(why),
    };
    let Some(command) = scene.command(recording) else {
        return Rerun::Not("this build cannot put the command together again");
    };
    let account = scene.account(recording.before);
    let ctx = Ctx {
        now: recording.at,
        clock_floor: Micros(0),
        policy: recording.policy,
        entropy: &scene.entropy,
        caller: recording.caller,
        source_key: recording.source_key,
        name_taken: false,
        next_key_id: None,
        requested_at: &[],
        is_own_account: false,
    };
    let decided = match decide(&account, &command, &scene.evidence, &ctx) {
        Decision::Done { events, .. } => events,
        Decision::Stale => return Rerun::Different("the evidence does not fit the account".into()),
    };
    let (decided, recorded) = (comparable(&decided), comparable(recording.events));
    match decided == recorded {
        true => Rerun::Same,
        false => Rerun::Different(told(&decided, &recorded)),
    }
}

/// The events without what is sealed or random.
fn comparable(events: &[Event]) -> Vec<Event> {
    let blank = |event: &Event| {
        let mut event = event.clone();
        for (_, field) in event.protected() {
            *field = Protected::clear(&[]);
        }
        match &mut event {
            Event::LoginStarted(e) => e.challenge = [0; 16],
            Event::TotpAccepted(e) => e.challenge = e.challenge.map(|_| [0; 16]),
            Event::BackupCodeAccepted(e) => e.challenge = e.challenge.map(|_| [0; 16]),
            _ => {}
        }
        event
    };
    events.iter().map(blank).collect()
}

/// The first difference, in words without a secret.
fn told(decided: &[Event], recorded: &[Event]) -> String {
    let names = |events: &[Event]| {
        let names: Vec<_> = events.iter().map(Event::name).collect();
        names.join(", ")
    };
    let differs = decided.iter().zip(recorded).find(|(a, b)| a != b);
    match differs {
        Some((a, b)) if a.name() == b.name() => {
            format!(
                "{} comes out as {} and was recorded as {}",
                a.name(),
                a.data(),
                b.data()
            )
        }
        _ => format!(
            "[{}] comes out, [{}] was recorded",
            names(decided),
            names(recorded)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_schemas::event::attempts::v1::AttemptsSuppressed;
    use countersign_schemas::event::login::v1::LoginCompleted;

    fn recorded(events: &[Event]) -> Rerun {
        rerun(&Recording {
            before: &Account::default(),
            account_id: "ada",
            events,
            at: Micros(1_800_000_000_000_000),
            caller: "login-gw",
            source_key: [0; 8],
            policy: &Policy::default(),
        })
    }

    #[test]
    fn what_does_not_follow_from_the_account_comes_out_otherwise() {
        let completed = Event::LoginCompleted(LoginCompleted { credential: 2 });
        let what = "the evidence does not fit the account".to_owned();
        assert_eq!(recorded(&[completed]), Rerun::Different(what));
        let vouched = Event::LoginCompleted(LoginCompleted { credential: 0 });
        let what = "[] comes out, [login-completed] was recorded".to_owned();
        assert_eq!(recorded(&[vouched]), Rerun::Different(what));
    }

    #[test]
    fn what_the_service_records_by_itself_is_no_decision() {
        let suppressed = Event::AttemptsSuppressed(AttemptsSuppressed { count: 3 });
        assert!(matches!(recorded(&[suppressed]), Rerun::Not(_)));
        assert!(matches!(recorded(&[]), Rerun::Not(_)));
    }
}
