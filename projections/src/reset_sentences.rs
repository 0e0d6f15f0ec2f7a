//! The support reset in plain words.

use countersign_schemas::event::reset::v1::{
    CancelledBy, Lost, RequestRefused, ResetApproved, ResetRequested, ResetRequestsRefused,
};

pub(crate) const REJECTED: &str = "An agent turned the reset down.";
pub(crate) const EXPIRED: &str = "The reset lapsed because nobody ended it in time.";
pub(crate) const EXECUTED: &str = "The reset was executed: two-factor authentication is off, and every code and open login is void.";

pub(crate) fn approved(e: &ResetApproved) -> String {
    format!(
        "A second agent approved the reset, which may be executed after {:.0}.",
        e.execute_after
    )
}

pub(crate) fn requested(e: &ResetRequested) -> String {
    let lost = match e.lost {
        None => "",
        Some(Lost::App) => " for a lost app",
        Some(Lost::BackupCodes) => " for lost backup codes",
        Some(Lost::Both) => " for a lost app and lost backup codes",
    };
    format!(
        "Support asked for a reset of two-factor authentication{lost}, which a second agent must approve; the case is open until {:.0}.",
        e.expires_at
    )
}

pub(crate) fn cancelled(by: CancelledBy) -> &'static str {
    match by {
        CancelledBy::Agent => "An agent called the reset off.",
        CancelledBy::User => "The owner objected, and the reset was called off.",
        CancelledBy::Login => {
            "The reset was called off by a login with a code, since nothing is lost then."
        }
        CancelledBy::Disabled => {
            "The reset was called off because the owner turned two-factor authentication off."
        }
    }
}

pub(crate) fn refused(e: &ResetRequestsRefused) -> String {
    let why = match e.cause {
        RequestRefused::Open => "a case was open already",
        RequestRefused::Quota => "the agent had asked for too many",
    };
    match e.count {
        1 => format!("1 request for a reset was refused because {why}."),
        count => format!("{count} requests for a reset were refused because {why}."),
    }
}
