//! Reconstructs the command and the evidence of a recorded decision from its events.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{PasswordCause, Purpose};
use countersign_schemas::event::backup_codes::v1::{BackupCodeReason, IssueCause};
use countersign_schemas::event::enrolment::v1::{DisabledBy, FirstFactor, TwoFactorEnabled};
use countersign_schemas::event::login::v1::TotpReason;
use serde_json::json;

use super::recording::{Recording, Rerun, Scene, no_command, password_judged};
use super::scene_enrolment::{confirmation, enrolment, pending_code, rejected_confirmation};
use super::scene_pair::pair_scene;
use super::scene_support::support_scene;
use super::stand_ins::{Given, changed, created, new_password};
use crate::account::Challenge;
use crate::account::evidence::{CodeEvidence, Created, Kept};
use crate::crypto::otp::step_at;

const OWN: &str = "the service recorded this by itself, no command was decided";
const NO_ACCOUNT: &str = "no account has this name, so there is no decision to make again";

/// Reconstructs the decision from its events.
///
/// # Errors
/// [`Rerun::Not`] if no command was decided, [`Rerun::Different`] if no command records these
/// events.
pub(super) fn scene(recording: &Recording) -> Result<Scene, Rerun> {
    let Some(first) = recording.events.first() else {
        return Err(Rerun::Not(OWN));
    };
    let at = recording.at;
    let mut scene = match first {
        Event::PasswordRehashed(e) => {
            let rest = &recording.events[1..];
            let mut scene = scene_of(&Recording {
                events: rest,
                ..*recording
            })?;
            scene.evidence.kept = Kept::Rehashed(e.verifier.clone());
            return Ok(scene);
        }
        _ => scene_of(recording)?,
    };
    scene.evidence.received_at = at;
    Ok(scene)
}

fn scene_of(recording: &Recording) -> Result<Scene, Rerun> {
    let (at, events) = (recording.at, recording.events);
    let Some(first) = events.first() else {
        return Err(no_command());
    };
    match first {
        Event::TotpAccepted(_)
        | Event::TotpRejected(_)
        | Event::CodeReplayed(_)
        | Event::BackupCodeAccepted(_)
        | Event::BackupCodeRejected(_) => code_scene(recording),
        Event::LoginPairRejected(e) => pair_scene(recording, e.credential),
        Event::AccountRegistered(_) => registration(recording),
        Event::PasswordSet(e) if e.cause == PasswordCause::Changed => {
            let credential = recording.before.credential.as_ref();
            let proof = first_factor(credential.map_or(0, |c| c.version));
            let mut scene = Scene::new("change-password", new_password(recording.policy), at);
            scene.evidence.created = Created::Verifier(e.verifier.clone());
            Ok(scene.proven_by(proof))
        }
        Event::PasswordRejected(e) => {
            let mut scene = proof_scene(e.purpose, recording, None);
            scene.evidence.proof = password_judged(e.credential, false);
            Ok(scene)
        }
        Event::LoginStarted(e) => {
            let body = match &e.audience {
                Some(audience) => json!({"audience": audience}),
                None => json!({}),
            };
            Ok(Scene::new("start-login", body, at).proven_by(first_factor(e.credential)))
        }
        Event::LoginCompleted(e) => {
            Ok(Scene::new("start-login", json!({}), at).proven_by(first_factor(e.credential)))
        }
        Event::EnrolmentStarted(_) => enrolment(recording, events),
        Event::EnrolmentCancelled(e) => {
            let body = json!({"authenticator_id": e.authenticator_id});
            Ok(Scene::new("cancel-enrolment", body, at))
        }
        Event::EnrolmentExpired(e) => Ok(confirmation(&e.authenticator_id, false, at)),
        Event::EnrolmentCodeRejected(e) => Ok(rejected_confirmation(
            recording,
            e.reason,
            &e.authenticator_id,
        )),
        Event::TwoFactorEnabled(e) => Ok(confirmed(recording, e)),
        Event::TwoFactorDisabled(e) => {
            let DisabledBy::User(proof) = e.by;
            Ok(proof_scene(Purpose::Disable, recording, None).proven_by(proof))
        }
        Event::BackupCodesIssued(e) => match e.cause {
            IssueCause::Regenerated(proof) => {
                let mut scene = proof_scene(Purpose::Regenerate, recording, None).proven_by(proof);
                scene.evidence.created = created(events);
                Ok(scene)
            }
            IssueCause::Enrolment => Err(no_command()),
        },
        Event::UnknownNameRefused(_) => Err(Rerun::Not(NO_ACCOUNT)),
        event if event.is_of_the_service() => Err(match events.len() {
            1 => Rerun::Not(OWN),
            _ => no_command(),
        }),
        event => support_scene(event, recording).unwrap_or_else(|| Err(no_command())),
    }
}

/// Reconstructs the confirmation of an enrolment by its first code.
fn confirmed(recording: &Recording, event: &TwoFactorEnabled) -> Scene {
    let mut scene = confirmation(&event.authenticator_id, false, recording.at);
    scene.evidence.code = pending_code(recording, event.step, i64::from(event.drift));
    scene.evidence.created = created(recording.events);
    scene
}

pub(super) fn first_factor(credential: u32) -> FirstFactor {
    match credential {
        0 => FirstFactor::Vouched,
        version => FirstFactor::Password(version),
    }
}

/// The purpose of a code, the first factor before it, the challenge that its event names, the code
/// and its evidence.
type Presented = (Purpose, FirstFactor, Option<[u8; 16]>, Given, CodeEvidence);

/// Reconstructs the code of the first event.
fn presented(recording: &Recording) -> Result<Presented, Rerun> {
    let policy = recording.policy;
    let now = step_at(recording.at.unix_s());
    let near = |step: u64| {
        now.clamp(
            step.saturating_sub(policy.window_steps),
            step + policy.window_steps,
        )
    };
    let totp =
        |enrolment, step_now, matched: Vec<u64>, next_matched: Vec<u64>| CodeEvidence::Totp {
            enrolment,
            step_now,
            matched,
            next_matched,
        };
    Ok(match &recording.events[0] {
        Event::TotpAccepted(e) => {
            let step_now = e.step.saturating_add_signed(-i64::from(e.drift));
            let evidence = match e.double_code {
                false => totp(e.enrolment, step_now, vec![e.step], Vec::new()),
                true => totp(
                    e.enrolment,
                    step_now,
                    vec![e.step.saturating_sub(1)],
                    vec![e.step],
                ),
            };
            (
                e.purpose,
                e.first_factor,
                e.challenge,
                Given::app(e.double_code),
                evidence,
            )
        }
        Event::TotpRejected(e) => {
            let pair = e.reason == TotpReason::WrongPair;
            let evidence = totp(e.enrolment, now, Vec::new(), Vec::new());
            (e.purpose, e.first_factor, None, Given::app(pair), evidence)
        }
        Event::CodeReplayed(e) => {
            let evidence = totp(e.enrolment, near(e.step), vec![e.step], Vec::new());
            (e.purpose, e.first_factor, None, Given::app(false), evidence)
        }
        Event::BackupCodeAccepted(e) => {
            let evidence = backup(e.set_no, e.ordinal, true);
            (
                e.purpose,
                e.first_factor,
                e.challenge,
                Given::Backup(e.ordinal),
                evidence,
            )
        }
        Event::BackupCodeRejected(e) => {
            let evidence = backup(e.set_no, e.ordinal, e.reason == BackupCodeReason::Used);
            (
                e.purpose,
                e.first_factor,
                None,
                Given::Backup(e.ordinal),
                evidence,
            )
        }
        _ => return Err(no_command()),
    })
}

/// Reconstructs a command that a code completed or that a wrong code ended.
pub(super) fn code_scene(recording: &Recording) -> Result<Scene, Rerun> {
    let (purpose, proof, challenge, code, evidence) = presented(recording)?;
    let is_accepted = matches!(
        recording.events[0],
        Event::TotpAccepted(_) | Event::BackupCodeAccepted(_)
    );
    let mut scene = proof_scene(purpose, recording, Some(code));
    if purpose == Purpose::Login {
        // A wrong code's event does not name its challenge; one that rests on the same first factor
        // is used instead.
        let same = |open: &&Challenge| {
            open.first_factor() == proof
                && open.caller == recording.caller
                && recording.at < open.expires_at
        };
        let open = recording.before.challenges.iter().find(same);
        scene.challenge = challenge.or(match is_accepted {
            true => None,
            false => open.map(|open| open.hash),
        });
        if let (None, FirstFactor::Password(_)) = (scene.challenge, proof) {
            // The code came together with the password.
            scene.name = "start-login";
            scene = scene.proven_by(proof);
        }
    } else {
        scene = scene.proven_by(proof);
        scene.evidence.created = match purpose {
            Purpose::ChangePassword => changed(recording.events),
            _ => created(recording.events),
        };
    }
    scene.evidence.code = evidence;
    Ok(scene)
}

fn backup(set_no: u32, ordinal: u8, right: bool) -> CodeEvidence {
    CodeEvidence::Backup {
        set_no,
        ordinal,
        right,
    }
}

/// Reconstructs the command of a purpose, with the code if there was one.
pub(super) fn proof_scene(purpose: Purpose, recording: &Recording, code: Option<Given>) -> Scene {
    let mut body = json!({});
    let name = match purpose {
        Purpose::Login if code.is_some() => "verify-login",
        Purpose::Login => "start-login",
        Purpose::ChangePassword => {
            body = new_password(recording.policy);
            "change-password"
        }
        Purpose::Enable => "enable-2fa",
        Purpose::Regenerate => "regenerate-backup-codes",
        Purpose::Disable => "disable-2fa",
    };
    if let Some(code) = code {
        let is_proof = matches!(purpose, Purpose::Regenerate | Purpose::Disable);
        match is_proof {
            true => {
                body["proof"] = json!({});
                code.put(&mut body["proof"]);
            }
            false => code.put(&mut body),
        }
    }
    Scene::new(name, body, recording.at)
}

fn registration(recording: &Recording) -> Result<Scene, Rerun> {
    match recording.events.get(1) {
        Some(Event::PasswordSet(e)) => {
            let mut body = new_password(recording.policy);
            body["username"] = "as-recorded".into();
            if let Some(body) = body.as_object_mut() {
                body.remove("new_password");
            }
            let mut scene = Scene::new("register-account", body, recording.at);
            scene.evidence.created = Created::Verifier(e.verifier.clone());
            Ok(scene)
        }
        Some(Event::EnrolmentStarted(_)) => enrolment(recording, &recording.events[1..]),
        // The first login of an account that needs no registration.
        Some(Event::LoginCompleted(_)) => scene_of(&Recording {
            events: &recording.events[1..],
            ..*recording
        }),
        _ => Err(no_command()),
    }
}
