//! TOTP secrets as the rules make them from the operating system's generator.

use std::collections::HashSet;

use countersign_schemas::command::{Command, Enable2fa};
use countersign_schemas::ids::AccountId;
use countersign_schemas::time::Micros;

use crate::account::{
    Account, Ctx, Decision, ENTROPY_LEN, Evidence, Policy, ProofEvidence, Reply, SecretReply,
    decide,
};
use crate::crypto::otp::SECRET_BYTES;
use crate::engine::system_random;

/// Secrets that must look uniform.
const SECRETS: u64 = 1_000_000;
/// Secrets that are enough to detect a bad generator.
const FEW: u64 = 100_000;
/// Chi-square with 255 degrees of freedom passes this with a probability of 5e-11.
const BYTE_BOUND: f64 = 430.0;
/// Standard deviations by which the ones of a bit may differ from a half: 1e-11, two-sided.
const BIT_BOUND: f64 = 6.8;

/// Returns the secret of a first enrolment, given its random bytes.
fn secret(entropy: &[u8; ENTROPY_LEN]) -> [u8; SECRET_BYTES] {
    let command = Command::Enable2fa(Enable2fa {
        account_id: AccountId::parse("ada").unwrap(),
        account_name: None,
        label: None,
        proof: None,
        context: None,
    });
    let now = Micros(1_800_000_000_000_000);
    let mut evidence = Evidence::none(now);
    evidence.proof = ProofEvidence::Vouched;
    let ctx = Ctx {
        now,
        gated_at: now,
        clock_floor: now,
        policy: &Policy::default(),
        entropy,
        caller: "portal",
        source_key: [0; 8],
        source_waits_s: None,
        pair_waits_s: None,
        is_elsewhere: false,
        name_taken: false,
        next_key_id: None,
        requested_at: &[],
        is_own_account: false,
    };
    match decide(&Account::default(), &command, &evidence, &ctx) {
        Decision::Done {
            reply: Ok(Reply::Secret(SecretReply::EnrolmentStarted { secret, .. })),
            ..
        } => *secret.as_bytes(),
        other => panic!("{other:?}"),
    }
}

/// Returns the evidence against uniform secrets: bytes, bits, or a secret that came twice.
fn findings(random: fn(&mut [u8]) -> bool, count: u64) -> Vec<String> {
    let mut bytes = [[0_u64; 256]; SECRET_BYTES];
    let mut seen = HashSet::new();
    for _ in 0..count {
        let mut entropy = [0; ENTROPY_LEN];
        assert!(random(&mut entropy));
        let secret = secret(&entropy);
        for (place, byte) in secret.into_iter().enumerate() {
            bytes[place][usize::from(byte)] += 1;
        }
        seen.insert(secret);
    }
    let mut findings = Vec::new();
    if seen.len() as u64 != count {
        findings.push("a secret came twice".to_owned());
    }
    for (place, counts) in bytes.iter().enumerate() {
        let expected = count as f64 / 256.0;
        let chi_square: f64 = counts
            .iter()
            .map(|seen| (*seen as f64 - expected).powi(2) / expected)
            .sum();
        if chi_square > BYTE_BOUND {
            findings.push(format!("byte {place}: chi-square {chi_square:.0}"));
        }
        for bit in 0..8 {
            let ones = (0..256).filter(|byte| byte >> bit & 1 == 1);
            let ones: u64 = ones.map(|byte| counts[byte]).sum();
            let off = (ones as f64 - count as f64 / 2.0) / (count as f64 / 4.0).sqrt();
            if off.abs() > BIT_BOUND {
                findings.push(format!("bit {bit} of byte {place}: {off:.1} deviations"));
            }
        }
    }
    findings
}

#[test]
fn secrets_are_uniform_in_all_160_bits() {
    assert_eq!(findings(system_random, SECRETS), Vec::<String>::new());
}

/// devise CVE-2024-8796: 120 bits where 160 were due; and the classic `% 250`.
#[test]
fn a_secret_of_fewer_bits_is_found_out() {
    fn short(bytes: &mut [u8]) -> bool {
        let filled = system_random(bytes);
        bytes[15..SECRET_BYTES].fill(0);
        filled
    }
    fn folded(bytes: &mut [u8]) -> bool {
        let filled = system_random(bytes);
        bytes.iter_mut().for_each(|byte| *byte %= 250);
        filled
    }
    let found = findings(short, FEW);
    assert!(found.iter().any(|f| f.starts_with("byte 15:")), "{found:?}");
    assert!(
        !found.iter().any(|f| f.starts_with("byte 14:")),
        "{found:?}"
    );
    let found = findings(folded, FEW);
    assert_eq!(
        found.iter().filter(|f| f.contains("chi-square")).count(),
        SECRET_BYTES
    );
}
