//! What was found out about a command, step by step, as its rule asked for it: slow, but only ever
//! facts. Each fact names what it was computed against, so that a stale one is noticed.

use countersign_schemas::code::BackupCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

/// The facts about one command.
#[derive(Debug)]
pub struct Evidence {
    /// When the request arrived, by the wall clock: the only instant that time steps are taken of.
    pub received_at: Micros,
    /// What was found out about the password.
    pub proof: ProofEvidence,
    /// What was found out about the code.
    pub code: CodeEvidence,
    /// What the command would create.
    pub created: Created,
    /// The name that the app and the sheet of codes show; empty where the reply shows none.
    pub display_name: String,
    /// How the right password's verifier is kept.
    pub kept: Kept,
}

impl Evidence {
    /// Nothing was found out yet, and no password was given.
    pub fn none(received_at: Micros) -> Self {
        Self {
            received_at,
            proof: ProofEvidence::Absent,
            code: CodeEvidence::None,
            created: Created::None,
            display_name: String::new(),
            kept: Kept::AsPolicyAsks,
        }
    }

    /// Whether a secret was compared, here or by another service: from then on the command is
    /// decided and what it got wrong is counted, whatever the clock says.
    pub fn has_compared(&self) -> bool {
        let password = match self.proof {
            ProofEvidence::Compared { .. } | ProofEvidence::Elsewhere { .. } => true,
            ProofEvidence::Absent | ProofEvidence::NotCompared | ProofEvidence::Vouched => false,
        };
        password || !matches!(self.code, CodeEvidence::None)
    }
}

/// What was found out about the first factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofEvidence {
    /// None was asked for, or none was given.
    Absent,
    /// One was given and is not compared yet.
    NotCompared,
    /// Compared with the verifier set at that version of the account; 0 when there is none, and
    /// then never right.
    Compared {
        /// The version.
        credential: u32,
        /// Whether it matched.
        right: bool,
    },
    /// Another service was asked.
    Elsewhere {
        /// Whether it took the password for right.
        right: bool,
    },
    /// The caller answers for it.
    Vouched,
}

/// What was found out about the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeEvidence {
    /// Nothing is compared yet.
    None,
    /// There was nothing to compare it with; that took as long.
    Nothing,
    /// An app code against the secret of that enrolment.
    Totp {
        /// The account's version that began the enrolment.
        enrolment: u32,
        /// The step of arrival.
        step_now: u64,
        /// Every step near now whose code it is, ascending.
        matched: Vec<u64>,
        /// The same for the second code, where one was given.
        next_matched: Vec<u64>,
    },
    /// A backup code against the verifier of its ordinal in that set.
    Backup {
        /// The set's number.
        set_no: u32,
        /// The ordinal that the code names.
        ordinal: u8,
        /// Whether it matched.
        right: bool,
    },
}

impl CodeEvidence {
    /// Whether the code was one of the owner's, spent or not.
    pub fn has_matched(&self) -> bool {
        match self {
            Self::Totp { matched, .. } => !matched.is_empty(),
            Self::Backup { right, .. } => *right,
            Self::None | Self::Nothing => false,
        }
    }
}

/// How the verifier of a password that was right is kept.
#[derive(Debug)]
pub enum Kept {
    /// Under the active pepper and at the cost that policy asks for, or it is not known yet.
    AsPolicyAsks,
    /// Under an older pepper, or at a lower cost.
    Outdated,
    /// It was outdated, and this one takes its place.
    Rehashed(Protected),
}

/// What the command creates, made once it is decided that it may.
#[derive(Debug)]
pub enum Created {
    /// Nothing.
    None,
    /// A password's encoded verifier.
    Verifier(Protected),
    /// A set of backup codes.
    Codes(Issued),
}

/// A new set of backup codes with the encoded list of its verifiers.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The ten codes, by ordinal.
    pub codes: Vec<BackupCode>,
    /// The encoded list of verifiers.
    pub verifiers: Protected,
    /// A short random name for the set.
    pub fingerprint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_compared_once_a_password_or_a_code_was_looked_at() {
        let codes = [
            (CodeEvidence::None, false),
            (
                CodeEvidence::Totp {
                    enrolment: 3,
                    step_now: 9,
                    matched: Vec::new(),
                    next_matched: Vec::new(),
                },
                true,
            ),
            (
                CodeEvidence::Backup {
                    set_no: 1,
                    ordinal: 4,
                    right: false,
                },
                true,
            ),
        ];
        let right = false;
        for (proof, compared) in [
            (ProofEvidence::Absent, false),
            (ProofEvidence::NotCompared, false),
            (ProofEvidence::Vouched, false),
            (
                ProofEvidence::Compared {
                    credential: 2,
                    right,
                },
                true,
            ),
            (ProofEvidence::Elsewhere { right }, true),
        ] {
            for (code, code_compared) in &codes {
                let mut evidence = Evidence::none(Micros(0));
                (evidence.proof, evidence.code) = (proof, code.clone());
                let expected = compared || *code_compared;
                assert_eq!(evidence.has_compared(), expected, "{evidence:?}");
            }
        }
    }

    #[test]
    fn a_code_matched_where_it_is_one_of_the_owners() {
        let app = |matched| CodeEvidence::Totp {
            enrolment: 2,
            step_now: 7,
            matched,
            next_matched: Vec::new(),
        };
        let backup = |right| CodeEvidence::Backup {
            set_no: 1,
            ordinal: 4,
            right,
        };
        for (code, has_matched) in [
            (app(vec![7]), true),
            (app(Vec::new()), false),
            (backup(true), true),
            (backup(false), false),
            (CodeEvidence::Nothing, false),
            (CodeEvidence::None, false),
        ] {
            assert_eq!(code.has_matched(), has_matched, "{code:?}");
        }
    }
}
