//! Why the command of an agent, an operator or an objecting owner had its result.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::event::reset::v1::{CancelledBy, ResetApproved};
use countersign_schemas::time::Micros;

use crate::account::Account;
use crate::account::policy::Policy;

const HOUR_S: u64 = 3_600;

/// Returns the reason for one event of these commands; `None` for any other event.
pub(super) fn support_reason(
    before: &Account,
    event: &Event,
    at: Micros,
    policy: &Policy,
) -> Option<String> {
    Some(match event {
        Event::FactorSuspended(e) => match e.cause {
            SuspendedCause::Failures => format!(
                "{} failures in a row suspend app codes.",
                policy.suspend_after
            ),
            SuspendedCause::Support => format!(
                "Two-factor authentication was on, support asked for app codes to be stopped, and the agent had done so fewer than {}.",
                often(policy.suspensions_max, policy)
            ),
        },
        Event::AttemptsCleared(_) => format!(
            "Two-factor authentication was on, app codes were not suspended and failures were counted; {} h had passed since any agent cleared the attempts and {} h since this one did, and it had cleared any fewer than {}.",
            policy.clear_again_after_s / HOUR_S,
            policy.clear_same_agent_after_s / HOUR_S,
            often(policy.clears_max, policy)
        ),
        Event::ResetRequested(_) => format!(
            "There was something to reset, no other case was open, the account is not the agent's own, and the agent had asked for fewer than {} resets in {} h; the case lapses {} h after it.",
            policy.reset_requests_max,
            policy.reset_requests_window_s / HOUR_S,
            policy.reset_ttl_s / HOUR_S
        ),
        Event::ResetApproved(e) => approved(before, e, policy),
        Event::ResetRejected(_) => ended(policy),
        Event::ResetCancelled(e) => match e.by {
            CancelledBy::Agent => return Some(ended(policy)),
            CancelledBy::User => {
                "A case was open, and the platform's word that the owner objects is enough."
            }
            CancelledBy::Login => "A login with a code ends an open case.",
            CancelledBy::Disabled => "Turning two-factor authentication off ends an open case.",
        }
        .to_owned(),
        Event::ResetExpired(_) => {
            let case = before.reset.as_ref();
            let late = case.map_or(0, |case| at.seconds_since(case.expires_at));
            format!("The case had lapsed {late} s before, so nothing more could be done with it.")
        }
        Event::ResetExecuted(_) => {
            let case = before.reset.as_ref();
            let after = case.and_then(|case| case.execute_after);
            let late = after.map_or(0, |after| at.seconds_since(after));
            format!(
                "The case was approved and open, its cooling-off time had been over for {late} s, and the account is not the agent's own."
            )
        }
        Event::AccountErased(_) => {
            format!(
                "The account existed, an operator's word is enough, and this one had erased fewer than {}.",
                often(policy.erasures_max, policy)
            )
        }
        Event::KeysRotated(e) => format!(
            "The data keys of every earlier rotation had been rewrapped, and {} is the number after the last one.",
            e.key_id
        ),
        _ => return None,
    })
}

/// Words a bound on the acts of one agent: "20 times in 24 h".
fn often(max: u16, policy: &Policy) -> String {
    format!("{max} times in {} h", policy.agent_acts_window_s / HOUR_S)
}

fn ended(policy: &Policy) -> String {
    format!(
        "The case was open, and the agent had ended cases fewer than {}.",
        often(policy.reset_ends_max, policy)
    )
}

fn approved(before: &Account, e: &ResetApproved, policy: &Policy) -> String {
    let case = before.reset.as_ref();
    let requester = case.map_or("another agent", |case| case.requested_by.as_str());
    format!(
        "The case was open and not approved yet, {requester} had asked for it and not this agent, the account is not the agent's own, and its cooling-off time of {} h ends at {:.0}, before it lapses.",
        policy.reset_cooling_off_s / HOUR_S,
        e.execute_after
    )
}
