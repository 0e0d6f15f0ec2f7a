//! Verifiers of passwords and backup codes, and their costs.

use super::*;

const CHEAP: KdfParams = KdfParams {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
const PEPPER: &[u8] = b"pepper of the tests";
const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

fn cheap(input: &[u8]) -> Verifier {
    derive(input, CHEAP, 3, PEPPER, SALT).unwrap()
}

#[test]
fn a_cost_is_weaker_where_any_of_its_numbers_is_lower_and_not_where_all_are_equal() {
    let policy = KdfParams {
        memory_kib: 64,
        passes: 2,
        lanes: 2,
    };
    assert!(!policy.is_weaker_than(policy));
    let change = |change: fn(&mut KdfParams)| {
        let mut other = policy;
        change(&mut other);
        (other.is_weaker_than(policy), policy.is_weaker_than(other))
    };
    assert_eq!(change(|cost| cost.memory_kib = 63), (true, false));
    assert_eq!(change(|cost| cost.passes = 1), (true, false));
    assert_eq!(change(|cost| cost.lanes = 1), (true, false));
    let both = |cost: &mut KdfParams| (cost.memory_kib, cost.passes) = (63, 3);
    assert_eq!(change(both), (true, true));
}

/// Expected value from the reference implementation by way of argon2-cffi.
#[test]
fn the_default_cost_gives_the_reference_implementations_hash() {
    let cost = KdfParams::default();
    let verifier = derive(b"correct horse", cost, 1, &[9; 32], [5; 16]).unwrap();
    let hex = data_encoding::HEXLOWER.encode(&verifier.hash);
    assert_eq!(
        hex,
        "7feb323b2e18525fedab167d3d6bb696acdd479db9d6bb2236de9f6fb1c3f525"
    );
}

#[test]
fn only_the_right_input_and_pepper_verify() {
    let verifier = cheap(b"correct horse");
    assert_eq!(verify(b"correct horse", &verifier, PEPPER), Ok(true));
    assert_eq!(verify(b"correct horsf", &verifier, PEPPER), Ok(false));
    assert_eq!(verify(b"", &verifier, PEPPER), Ok(false));
    assert_eq!(verify(b"correct horse", &verifier, b"another"), Ok(false));
    assert_eq!(verify(b"correct horse", &verifier, b""), Ok(false));
}

#[test]
fn salt_pepper_and_cost_each_change_the_hash() {
    let base = cheap(b"input");
    let dearer = KdfParams { passes: 2, ..CHEAP };
    let others = [
        derive(b"input", CHEAP, 3, PEPPER, [8; 16]).unwrap(),
        derive(b"input", CHEAP, 3, b"other", SALT).unwrap(),
        derive(b"input", dearer, 3, PEPPER, SALT).unwrap(),
    ];
    assert!(others.iter().all(|other| other.hash != base.hash));
}

/// S-06: nothing is cut off, neither at a NUL nor at some length.
#[test]
fn every_byte_of_a_long_input_counts() {
    let mut input = [b'a'; INPUT_BYTES_MAX];
    input[10] = 0;
    let verifier = cheap(&input);
    assert_eq!(verify(&input, &verifier, PEPPER), Ok(true));
    for at in [9, 11, 255, 256, INPUT_BYTES_MAX - 1] {
        let mut other = input;
        other[at] ^= 1;
        assert_eq!(verify(&other, &verifier, PEPPER), Ok(false), "byte {at}");
    }
}

#[test]
fn an_input_over_the_bound_is_refused_unhashed() {
    let long = vec![b'a'; INPUT_BYTES_MAX + 1];
    let refused = derive(&long, CHEAP, 1, PEPPER, SALT);
    assert_eq!(refused.unwrap_err(), DeriveError::InputTooLong);
    assert_eq!(verify(&long, &cheap(b"a"), PEPPER), Ok(false));
}

#[test]
fn a_verifier_reads_back_equal_and_keeps_its_own_cost() {
    let cost = KdfParams {
        memory_kib: 64,
        passes: 3,
        lanes: 2,
    };
    let verifier = derive(b"input", cost, 70_000, PEPPER, SALT).unwrap();
    let read = Verifier::decode(&verifier.encode()).unwrap();
    assert_eq!(read, verifier);
    assert_eq!(
        (read.params(), read.pepper_id(), *read.salt()),
        (cost, 70_000, SALT)
    );
    assert_eq!(verify(b"input", &read, PEPPER), Ok(true));
}

#[test]
fn a_damaged_verifier_is_refused() {
    let bytes = cheap(b"input").encode();
    for end in 0..bytes.len() {
        let cut = Verifier::decode(&bytes[..end]);
        assert_eq!(cut, Err(MalformedVerifier::Damaged), "cut at {end}");
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(Verifier::decode(&trailing), Err(MalformedVerifier::Damaged));
    let mut later = bytes.to_vec();
    later[0] = 2;
    assert_eq!(
        Verifier::decode(&later),
        Err(MalformedVerifier::UnknownVersion(2))
    );
}

#[test]
fn a_cost_outside_the_bounds_is_never_paid() {
    let costs = [
        (7, 1, 1),
        (15, 1, 2),
        (MEMORY_KIB_MAX + 1, 1, 1),
        (u32::MAX, u32::MAX, u32::MAX),
        (8, 0, 1),
        (8, PASSES_MAX + 1, 1),
        (8, 1, 0),
        (1024, 1, LANES_MAX + 1),
    ];
    for (memory_kib, passes, lanes) in costs {
        let params = KdfParams {
            memory_kib,
            passes,
            lanes,
        };
        let refused = derive(b"input", params, 1, PEPPER, SALT);
        assert_eq!(refused, Err(DeriveError::Params(params)));
        let mut stored = cheap(b"input");
        stored.params = params;
        let refused = Verifier::decode(&stored.encode());
        assert_eq!(refused, Err(MalformedVerifier::Params(params)));
    }
}

#[test]
fn neither_salt_nor_hash_is_in_debug_output() {
    assert_eq!(
        format!("{:?}", cheap(b"input")),
        "Verifier { params: KdfParams { memory_kib: 8, passes: 1, lanes: 1 }, pepper_id: 3, .. }"
    );
}
