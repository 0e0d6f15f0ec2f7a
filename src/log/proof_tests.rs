//! Proofs against RFC 6962's own definitions, the shared test tree and the crate `tlog_tiles`.

use proptest::prelude::*;

use super::super::tiles::Tree;
use super::super::tree::leaf_hash;
use super::super::tree::tests::{CT_LEAVES, CT_ROOTS, hash, leaves, naive_root, naive_split};
use super::*;

fn tree(leaves: &[Hash]) -> Tree {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.append(*leaf));
    tree
}

/// PATH of RFC 6962 §2.1.1, word for word.
fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) = if m < k {
        (naive_path(m, left), naive_root(right))
    } else {
        (naive_path(m - k, right), naive_root(left))
    };
    path.push(other);
    path
}

/// SUBPROOF of RFC 6962 §2.1.2, word for word.
fn naive_subproof(m: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
    let n = leaves.len();
    if m == n {
        return if complete {
            vec![]
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = naive_split(n);
    let (left, right) = leaves.split_at(k);
    let (mut proof, other) = if m <= k {
        (naive_subproof(m, left, complete), naive_root(right))
    } else {
        (naive_subproof(m - k, right, false), naive_root(left))
    };
    proof.push(other);
    proof
}

/// Returns every proof that differs from this one by one bit, one hash less, one more, or two
/// exchanged.
fn spoilt(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        for bit in 0..256 {
            let mut bad = proof.to_vec();
            bad[at][bit / 8] ^= 1 << (bit % 8);
            all.push(bad);
        }
        let mut shorter = proof.to_vec();
        shorter.remove(at);
        all.push(shorter);
    }
    for at in 1..proof.len() {
        let mut swapped = proof.to_vec();
        swapped.swap(at - 1, at);
        all.push(swapped);
    }
    for at in 0..=proof.len() {
        let mut longer = proof.to_vec();
        longer.insert(at, [7; 32]);
        all.push(longer);
    }
    all
}

fn flipped(hash: &Hash) -> Hash {
    let mut bad = *hash;
    bad[31] ^= 1;
    bad
}

#[test]
fn the_proofs_of_the_certificate_transparency_test_tree_come_out() {
    let leaves: Vec<_> = CT_LEAVES.iter().map(|leaf| leaf_hash(leaf)).collect();
    let tree = tree(&leaves);
    let a = hash("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7");
    let b = hash("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e");
    let c = hash("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4");
    let d = hash("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b");
    let e = hash("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0");
    let f = hash("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a");
    let root = |size: usize| hash(CT_ROOTS[size - 1]);
    let inclusion = [
        (1, 1, vec![]),
        (1, 8, vec![a, b, c]),
        (6, 8, vec![d, e, root(4)]),
        (3, 3, vec![root(2)]),
        (2, 5, vec![root(1), b, d]),
    ];
    for (position, size, proof) in inclusion {
        let made = prove_inclusion(|l, i| tree.read(l, i), position, size);
        assert_eq!(made, Ok(proof), "{position} in {size}");
    }
    let consistency = [
        (1, 1, vec![]),
        (1, 8, vec![a, b, c]),
        (6, 8, vec![f, e, root(4)]),
        (2, 5, vec![b, d]),
    ];
    for (from, to, proof) in consistency {
        let made = prove_consistency(|l, i| tree.read(l, i), from, to);
        assert_eq!(made, Ok(proof), "{from} to {to}");
    }
}

#[test]
fn every_inclusion_proof_is_the_defined_one_and_is_accepted() {
    let all = leaves(300);
    let tree = tree(&all);
    for size in 1..=300_usize {
        let (root, n) = (naive_root(&all[..size]), size as u64);
        assert_eq!(root_at(|l, i| tree.read(l, i), n), Ok(root));
        for leaf in (0..size).step_by(1 + size / 16) {
            let position = leaf as u64 + 1;
            let proof = prove_inclusion(|l, i| tree.read(l, i), position, n).unwrap();
            assert_eq!(proof, naive_path(leaf, &all[..size]));
            assert_eq!(
                check_inclusion(&all[leaf], position, n, &root, &proof),
                Ok(())
            );
        }
    }
}

#[test]
fn every_consistency_proof_is_the_defined_one_and_is_accepted() {
    let all = leaves(70);
    let tree = tree(&all);
    for to in 1..=70_usize {
        for from in 1..=to {
            let (m, n) = (from as u64, to as u64);
            let proof = prove_consistency(|l, i| tree.read(l, i), m, n).unwrap();
            assert_eq!(proof, naive_subproof(from, &all[..to], true));
            let (old, new) = (naive_root(&all[..from]), naive_root(&all[..to]));
            assert_eq!(check_consistency(m, &old, n, &new, &proof), Ok(()));
        }
    }
}

#[test]
fn no_inclusion_proof_survives_a_change() {
    let all = leaves(41);
    let tree = tree(&all);
    for size in [1, 2, 3, 8, 31, 33, 41_usize] {
        let (root, n) = (naive_root(&all[..size]), size as u64);
        for (position, leaf) in (1..=n).zip(&all) {
            let proof = prove_inclusion(|l, i| tree.read(l, i), position, n).unwrap();
            let check = |leaf: &Hash, position, size, root: &Hash, proof: &[Hash]| {
                check_inclusion(leaf, position, size, root, proof)
            };
            for bad in spoilt(&proof) {
                check(leaf, position, n, &root, &bad).unwrap_err();
            }
            check(&flipped(leaf), position, n, &root, &proof).unwrap_err();
            check(leaf, position, n, &flipped(&root), &proof).unwrap_err();
            for other in (0..=n + 1).filter(|&other| other != position) {
                check(leaf, other, n, &root, &proof).unwrap_err();
            }
        }
    }
}

#[test]
fn no_consistency_proof_survives_a_change() {
    let all = leaves(20);
    let tree = tree(&all);
    for to in 1..=20_usize {
        for from in 1..=to {
            let (m, n) = (from as u64, to as u64);
            let (old, new) = (naive_root(&all[..from]), naive_root(&all[..to]));
            let proof = prove_consistency(|l, i| tree.read(l, i), m, n).unwrap();
            for bad in spoilt(&proof) {
                check_consistency(m, &old, n, &new, &bad).unwrap_err();
            }
            check_consistency(m, &flipped(&old), n, &new, &proof).unwrap_err();
            check_consistency(m, &old, n, &flipped(&new), &proof).unwrap_err();
            check_consistency(n + 1, &old, n, &new, &proof).unwrap_err();
            check_consistency(0, &old, n, &new, &proof).unwrap_err();
        }
    }
}

#[test]
fn a_wrong_root_and_a_wrong_length_are_told_apart() {
    let all = leaves(5);
    let (tree, root) = (tree(&all), naive_root(&all));
    let proof = prove_inclusion(|l, i| tree.read(l, i), 2, 5).unwrap();
    let check = |root, proof: &[Hash]| check_inclusion(&all[1], 2, 5, root, proof);
    let other = flipped(&root);
    assert_eq!(check(&root, &proof), Ok(()));
    assert_eq!(check(&other, &proof), Err(ProofRefused::WrongRoot));
    assert_eq!(check(&root, &proof[1..]), Err(ProofRefused::Malformed));
    let old = naive_root(&all[..3]);
    let proof = prove_consistency(|l, i| tree.read(l, i), 3, 5).unwrap();
    let check = |old, new, proof: &[Hash]| check_consistency(3, old, 5, new, proof);
    assert_eq!(check(&old, &root, &proof), Ok(()));
    for (old, new) in [(&other, &root), (&old, &other)] {
        assert_eq!(check(old, new, &proof), Err(ProofRefused::WrongRoot));
    }
    assert_eq!(
        check(&old, &root, &proof[1..]),
        Err(ProofRefused::Malformed)
    );
}

#[test]
fn the_root_of_no_record_is_that_of_the_empty_tree() {
    let tree = tree(&leaves(5));
    assert_eq!(root_at(|l, i| tree.read(l, i), 0), Ok(empty_root()));
}

#[test]
fn what_is_not_in_the_tree_is_not_proven() {
    let tree = tree(&leaves(5));
    let read = |l, i| tree.read(l, i);
    for (position, size) in [(0, 5), (6, 5), (0, 0), (1, 0)] {
        let refused = prove_inclusion(read, position, size).unwrap_err();
        assert!(matches!(refused, ProveError::OutOfRange { .. }));
        let refused = prove_consistency(read, position, size).unwrap_err();
        assert!(matches!(refused, ProveError::OutOfRange { .. }));
    }
    for refused in [prove_inclusion(read, 6, 6), prove_consistency(read, 6, 6)] {
        assert!(matches!(refused, Err(ProveError::Tile(_))), "a larger tree");
    }
}

/// The crate's reader of hashes, over this module's tiles.
struct Theirs<'a>(&'a Tree);

impl tlog_tiles::HashReader for Theirs<'_> {
    fn read_hashes(&self, wanted: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let read = |wanted: &u64| {
            let (height, index) = tlog_tiles::split_stored_hash_index(*wanted);
            let hash = subtree(&mut |l, i| self.0.read(l, i), u32::from(height), index);
            tlog_tiles::Hash(hash.unwrap())
        };
        Ok(wanted.iter().map(read).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An independent implementation makes the same proofs and accepts this one's.
    #[test]
    fn tlog_tiles_agrees(size in 1..70_000_u64, a in any::<u64>(), b in any::<u64>()) {
        static TREE: std::sync::LazyLock<Tree> = std::sync::LazyLock::new(|| tree(&leaves(70_000)));
        let read = |l, i| TREE.read(l, i);
        let theirs = |proof: Vec<Hash>| -> Vec<_> {
            proof.into_iter().map(tlog_tiles::Hash).collect()
        };
        let root = root_at(read, size).unwrap();
        let their_root = tlog_tiles::tree_hash(size, &Theirs(&TREE)).unwrap();
        prop_assert_eq!(root, their_root.0);

        let leaf = a % size;
        let proof = prove_inclusion(read, leaf + 1, size).unwrap();
        let hash = leaf_hash(&leaf.to_le_bytes());
        prop_assert_eq!(check_inclusion(&hash, leaf + 1, size, &root, &proof), Ok(()));
        let proof = theirs(proof);
        prop_assert_eq!(&proof, &tlog_tiles::prove_record(size, leaf, &Theirs(&TREE)).unwrap());
        let record = tlog_tiles::record_hash(&leaf.to_le_bytes());
        tlog_tiles::check_record(&proof, size, their_root, leaf, record).unwrap();

        let from = b % size + 1;
        let old = root_at(read, from).unwrap();
        let proof = prove_consistency(read, from, size).unwrap();
        prop_assert_eq!(check_consistency(from, &old, size, &root, &proof), Ok(()));
        let proof = theirs(proof);
        prop_assert_eq!(&proof, &tlog_tiles::prove_tree(size, from, &Theirs(&TREE)).unwrap());
        tlog_tiles::check_tree(&proof, size, their_root, from, tlog_tiles::Hash(old)).unwrap();
    }
}
