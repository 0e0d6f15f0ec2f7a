//! The facts that a decision rests on and the log cannot show: they are taken as recorded, and
//! named.

use countersign_schemas::event::Event;
use countersign_schemas::event::enrolment::v1::{DisabledBy, FirstFactor};

use super::recording::Recording;

const PASSWORD: &str = "Whether the password matched: the log holds neither the password nor anything in clear to compare it with.";
const VOUCHED: &str = "That the first factor was right: it is the caller's word.";
const APP_CODE: &str = "Which time step the app's code belongs to: neither the code nor the app's secret in clear is in the log.";
const BACKUP_CODE: &str =
    "Whether the backup code matched its verifier: neither is in the log in clear.";
const PASSWORDS_WAITED: &str =
    "That passwords waited: the counts that are kept beside the account are not in the log.";
const NAME_FREE: &str =
    "That no other account had the name: the log holds names only in sealed form.";
const NOT_ONES_OWN: &str = "That the account is not the agent's own by its name: the name was erased with the account; by its id it is not.";
const LAPSED_BY: &str = "Which step found that the case had lapsed: each step of an agent would have found it, and leaves the same event.";
const ERASED: &str = "That the account's data keys are destroyed: those are in keys.redb, and the order to destroy them is a tombstone beside the keyring. What the log shows is that the account existed, who asked and when, and that nothing of the old account was used after it.";
const ROTATED: &str = "That new keys are in use: those are in the keyring file, and which key wraps what is in keys.redb. What the log shows is that the number is the next one, that no rotation was under way, who asked and when.";

/// Returns one sentence for each fact that only the events show; no sentence holds a secret.
pub fn taken_as_recorded(recording: &Recording) -> Vec<&'static str> {
    let mut taken = Vec::new();
    for event in recording.events {
        match event {
            Event::TotpAccepted(e) => taken.extend([of(e.first_factor), APP_CODE]),
            Event::TotpRejected(e) => taken.extend([of(e.first_factor), APP_CODE]),
            Event::CodeReplayed(e) => taken.extend([of(e.first_factor), APP_CODE]),
            Event::BackupCodeAccepted(e) => taken.extend([of(e.first_factor), BACKUP_CODE]),
            Event::BackupCodeRejected(e) => taken.extend([of(e.first_factor), BACKUP_CODE]),
            Event::TwoFactorEnabled(_) | Event::EnrolmentCodeRejected(_) => taken.push(APP_CODE),
            Event::EnrolmentStarted(e) => taken.push(of(e.proof)),
            Event::TwoFactorDisabled(e) => {
                let DisabledBy::User(proof) = e.by;
                taken.push(of(proof));
            }
            Event::PasswordRejected(_) | Event::PasswordRehashed(_) => taken.push(PASSWORD),
            Event::LoginPairRejected(_) => taken.extend([PASSWORD, PASSWORDS_WAITED]),
            Event::LoginStarted(e) => taken.push(of_credential(e.credential)),
            Event::LoginCompleted(e) => taken.push(of_credential(e.credential)),
            Event::AccountRegistered(e) if e.username.is_some() => taken.push(NAME_FREE),
            Event::ResetRequested(_) | Event::ResetApproved(_) | Event::ResetExecuted(_)
                if recording.across.is_own_account.is_none() =>
            {
                taken.push(NOT_ONES_OWN);
            }
            Event::ResetExpired(_) if recording.events.len() == 1 => taken.push(LAPSED_BY),
            Event::AccountErased(_) => taken.push(ERASED),
            Event::KeysRotated(_) => taken.push(ROTATED),
            _ => {}
        }
    }
    let mut seen = Vec::with_capacity(taken.len());
    taken.retain(|sentence| {
        let is_new = !seen.contains(sentence);
        seen.push(sentence);
        is_new
    });
    taken
}

fn of(first_factor: FirstFactor) -> &'static str {
    match first_factor {
        FirstFactor::Password(_) => PASSWORD,
        FirstFactor::Vouched => VOUCHED,
    }
}

fn of_credential(credential: u32) -> &'static str {
    match credential {
        0 => VOUCHED,
        _ => PASSWORD,
    }
}

#[cfg(test)]
mod tests {
    use countersign_schemas::record::Role;

    use super::*;
    use crate::account::Policy;
    use crate::account::explain::recording::Across;
    use crate::account::tests::reset_words::*;
    use crate::account::tests::scenario::Password::{Right, Vouched, Wrong};
    use crate::account::tests::scenario::{ACCOUNT, START, Scenario, unregistered};
    use crate::account::tests::sentences::*;

    fn taken(before: &Scenario, ask: impl FnOnce(&Scenario) -> Ask) -> Vec<&'static str> {
        let after = before.clone().when(ask);
        taken_as_recorded(&Recording {
            before: &before.account,
            account_id: ACCOUNT,
            events: &after.events,
            at: START,
            caller: "login-gw",
            role: Role::Platform,
            source_key: [0; 8],
            policy: &Policy::default(),
            across: Across::default(),
        })
    }

    #[test]
    fn what_a_user_proved_is_taken_over() {
        let (registered, pending, on) =
            (registered_account(), pending_account(), enabled_account());
        assert_eq!(taken(&registered, start_login(Right)), [PASSWORD]);
        assert_eq!(taken(&registered, enable(Right)), [PASSWORD]);
        assert_eq!(taken(&pending, confirm(code_now(0))), [APP_CODE]);
        assert_eq!(taken(&pending, confirm(wrong_code())), [APP_CODE]);
        assert_eq!(taken(&on, start_login(Right)), [PASSWORD]);
        assert_eq!(taken(&on, start_login(Wrong)), [PASSWORD]);
        assert_eq!(taken(&on, disable(Right)), [PASSWORD]);
        assert_eq!(taken(&on, verify_vouched(code_now(1))), [VOUCHED, APP_CODE]);
        assert_eq!(
            taken(&on, verify_vouched(wrong_code())),
            [VOUCHED, APP_CODE]
        );
        assert_eq!(
            taken(&on, verify_vouched(backup_code(4))),
            [VOUCHED, BACKUP_CODE]
        );
        let wrong = taken(&on, verify_vouched(wrong_backup_code(3)));
        assert_eq!(wrong, [VOUCHED, BACKUP_CODE]);
        assert_eq!(taken(&registered, start_login(Vouched)), [VOUCHED]);
    }

    #[test]
    fn what_others_did_is_taken_over() {
        let case = enabled_account().by("agent-1").when(request_reset);
        assert_eq!(
            taken(&enabled_account().by("agent-1"), request_reset),
            [NOT_ONES_OWN]
        );
        let lapsed = case.by("agent-2").at("+8d");
        assert_eq!(taken(&lapsed, approve), [LAPSED_BY]);
        assert_eq!(taken(&enabled_account(), erase), [ERASED]);
        assert_eq!(taken(&unregistered(), rotate_keys), [ROTATED]);
    }
}
