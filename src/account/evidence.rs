//! The facts that are gathered about a command, step by step, as its rule asks for them. Each fact
//! names what it was computed against, so that a stale one is noticed.

use countersign_schemas::code::BackupCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

/// The facts about one command.
#[derive(Debug)]
pub struct Evidence {
    /// When the request arrived, by the wall clock: the only time that time steps are computed
    /// from.
    pub received_at: Micros,
    /// The evidence about the first factor.
    pub proof: ProofEvidence,
    /// The evidence about the code.
    pub code: CodeEvidence,
    /// The verifier or codes made for the command.
    pub created: Created,
    /// The name that the app and the sheet of codes show; empty if the reply shows none.
    pub display_name: String,
    /// How the verifier of the right password is kept.
    pub kept: Kept,
}

impl Evidence {
    /// Returns the evidence of a command without a password, before anything is compared or made.
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

    /// Returns whether a secret was compared, here or by the password service. From then on the
    /// command is decided and a wrong secret is counted, whatever the clock says.
    pub fn has_compared(&self) -> bool {
        let password = match self.proof {
            ProofEvidence::Compared { .. } | ProofEvidence::Elsewhere { .. } => true,
            ProofEvidence::Absent | ProofEvidence::NotCompared | ProofEvidence::Vouched => false,
        };
        password || !matches!(self.code, CodeEvidence::None)
    }
}

/// The evidence about the first factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofEvidence {
    /// No password was given, and the caller does not vouch.
    Absent,
    /// A password was given and is not compared yet.
    NotCompared,
    /// This service compared the password.
    Compared {
        /// The account's version that set the verifier; 0 if there is none, and then never right.
        credential: u32,
        /// Whether it matched.
        right: bool,
    },
    /// The password service was asked.
    Elsewhere {
        /// Whether it reported the password as right.
        right: bool,
    },
    /// The caller vouches for the first factor.
    Vouched,
}

/// The evidence about the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeEvidence {
    /// No code is compared yet.
    None,
    /// There was nothing to compare the code with; this took as long as a comparison.
    Nothing,
    /// An app code was compared with the secret of an enrolment.
    Totp {
        /// The account's version that began the enrolment.
        enrolment: u32,
        /// The time step at which the request arrived.
        step_now: u64,
        /// The steps near `step_now` that show this code, ascending.
        matched: Vec<u64>,
        /// The same for the second code, if one was given.
        next_matched: Vec<u64>,
    },
    /// A backup code was compared with the verifier of its ordinal.
    Backup {
        /// The number of the code set.
        set_no: u32,
        /// The ordinal that the code names.
        ordinal: u8,
        /// Whether it matched.
        right: bool,
    },
}

impl CodeEvidence {
    /// Returns whether the code is one of the owner's, spent or not.
    pub fn has_matched(&self) -> bool {
        match self {
            Self::Totp { matched, .. } => !matched.is_empty(),
            Self::Backup { right, .. } => *right,
            Self::None | Self::Nothing => false,
        }
    }
}

/// How the verifier of a right password is kept.
#[derive(Debug)]
pub enum Kept {
    /// Under the active pepper and at the cost of the policy, or not known yet.
    AsPolicyAsks,
    /// Under an older pepper, or at a lower cost.
    Outdated,
    /// Outdated, and replaced by this verifier.
    Rehashed(Protected),
}

/// The secrets made for a command, once its decision asks for them.
#[derive(Debug)]
pub enum Created {
    /// Nothing.
    None,
    /// A password's encoded verifier.
    Verifier(Protected),
    /// A set of backup codes.
    Codes(Issued),
}

/// A new set of backup codes with its verifiers.
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
    fn a_command_has_compared_once_a_password_or_a_code_was_compared() {
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
