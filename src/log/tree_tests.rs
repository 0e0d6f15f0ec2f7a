//! The frontier against RFC 6962's own definition and the certificate-transparency test tree.

use data_encoding::HEXLOWER;

use super::*;

/// The leaves of the test tree that certificate-transparency implementations share.
pub(crate) const CT_LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The tree's roots at sizes 1 to 8.
pub(crate) const CT_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

pub(crate) fn hash(hex: &str) -> Hash {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

/// MTH of RFC 6962 §2.1, word for word.
pub(crate) fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// The largest power of two smaller than `n`.
pub(crate) fn naive_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect()
}

#[test]
fn the_roots_of_the_certificate_transparency_test_tree_come_out() {
    let mut frontier = Frontier::default();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(frontier.root(), hash(empty));
    for (leaf, root) in CT_LEAVES.iter().zip(CT_ROOTS) {
        frontier.append(leaf_hash(leaf));
        assert_eq!(frontier.root(), hash(root));
    }
}

#[test]
fn the_root_is_that_of_the_definition_at_every_size() {
    let all = leaves(300);
    let mut frontier = Frontier::default();
    for size in 0..=300 {
        assert_eq!(frontier.size(), size as u64);
        assert_eq!(frontier.root(), naive_root(&all[..size]), "size {size}");
        if let Some(leaf) = all.get(size) {
            frontier.append(*leaf);
        }
    }
}

#[test]
fn a_stored_frontier_reads_back_and_goes_on_as_if_never_stored() {
    let mut frontier = Frontier::default();
    for leaf in leaves(300) {
        frontier = Frontier::decode(&frontier.encode()).unwrap();
        frontier.append(leaf);
    }
    assert_eq!(frontier.root(), naive_root(&leaves(300)));
    let bytes = frontier.encode();
    assert_eq!(bytes.len(), 8 + 4 * HASH_BYTES, "300 has four bits");
}

#[test]
fn a_frontier_of_another_length_is_refused() {
    let mut frontier = Frontier::default();
    leaves(7).into_iter().for_each(|leaf| frontier.append(leaf));
    let bytes = frontier.encode();
    for cut in 0..bytes.len() {
        assert_eq!(Frontier::decode(&bytes[..cut]), Err(FrontierDamaged));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Frontier::decode(&longer), Err(FrontierDamaged));
    longer.extend([0; 31]);
    assert_eq!(Frontier::decode(&longer), Err(FrontierDamaged));
}
