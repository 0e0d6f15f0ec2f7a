//! Tiles against the C2SP definition and the crate `tlog_tiles`.

use std::collections::BTreeMap;

use super::super::hashes::tile_hashes;
use super::super::tree::HASH_BYTES;
use super::super::tree::tests::{leaves, naive_root};
use super::*;

fn tree(count: u64) -> Tree {
    let mut tree = Tree::default();
    leaves(count).into_iter().for_each(|leaf| tree.append(leaf));
    tree
}

/// Returns what a table of tiles holds after storing at each of these sizes.
fn stored(sizes: &[u64]) -> (Tree, BTreeMap<(u8, u64), Vec<u8>>) {
    let (mut tree, mut table) = (Tree::default(), BTreeMap::new());
    for &size in sizes {
        let old = tree.size();
        let next = leaves(size).into_iter().skip(usize::try_from(old).unwrap());
        next.for_each(|leaf| tree.append(leaf));
        for (tile, bytes) in tree.changed(old).unwrap() {
            assert_eq!(bytes.len(), usize::from(tile.width) * HASH_BYTES);
            table.insert((tile.level, tile.index), bytes);
        }
        tree.drop_stored(size);
    }
    (tree, table)
}

fn from(
    table: &BTreeMap<(u8, u64), Vec<u8>>,
) -> impl FnMut(u8, u64) -> Result<Vec<u8>, TileError> + '_ {
    |level, index| {
        table.get(&(level, index)).cloned().ok_or(TileError {
            level,
            index,
            first: 0,
            reason: "missing".into(),
        })
    }
}

#[test]
fn a_tiles_path_is_the_one_of_the_specification() {
    let path = |level, index, width| {
        Tile {
            level,
            index,
            width,
        }
        .to_string()
    };
    assert_eq!(path(0, 0, 256), "tile/0/000");
    assert_eq!(path(1, 1_234_067, 256), "tile/1/x001/x234/067");
    assert_eq!(path(0, 273, 112), "tile/0/273.p/112");
    assert_eq!(path(2, 1_000, 1), "tile/2/x001/000.p/1");
}

#[test]
fn the_tiles_of_a_tree_of_70000_are_those_of_the_specification() {
    let mut tiles: Vec<_> = Tile::changed(0, 70_000).map(|t| t.to_string()).collect();
    let partial: Vec<_> = tiles.extract_if(.., |t| t.contains(".p/")).collect();
    assert_eq!(
        partial,
        ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    );
    assert_eq!(tiles.len(), 273 + 1);
    let of_256: Vec<_> = Tile::changed(0, 256).map(|t| t.to_string()).collect();
    assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1"]);
}

#[test]
fn changed_tiles_and_their_paths_are_those_of_tlog_tiles() {
    let ours =
        |old, new| -> Vec<String> { Tile::changed(old, new).map(|t| t.to_string()).collect() };
    let theirs = |old, new| -> Vec<String> {
        let mut tiles = tlog_tiles::Tile::new_tiles(8, old, new);
        tiles.sort_by_key(|t| (t.level(), t.level_index()));
        // That crate writes the height into the path, as the checksum database does.
        tiles
            .iter()
            .map(|t| t.path().replacen("tile/8/", "tile/", 1))
            .collect()
    };
    let sizes = [
        0, 1, 2, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_537, 70_000,
    ];
    for old in sizes {
        for new in sizes.into_iter().filter(|&new| new >= old) {
            assert_eq!(ours(old, new), theirs(old, new), "{old} to {new}");
        }
    }
}

#[test]
fn each_hash_in_a_tile_is_the_root_of_the_leaves_that_it_covers() {
    let (size, all) = (66_000, leaves(66_000));
    let tree = tree(size);
    for (tile, bytes) in tree.changed(0).unwrap() {
        let span = TILE_HASHES.pow(u32::from(tile.level));
        let first = usize::try_from(tile.index).unwrap() * TILE_HASHES;
        for (n, hash) in (first..).zip(tile_hashes(&bytes)) {
            assert_eq!(*hash, naive_root(&all[n * span..(n + 1) * span]), "{tile}");
        }
    }
}

#[test]
fn a_tree_resumed_from_stored_tiles_goes_on_as_if_never_stored() {
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 65_536, 65_537, 66_048] {
        let (kept, table) = stored(&[size / 3 + 1, size]);
        let last = (size - 1).to_le_bytes();
        let mut resumed = Tree::resume(kept.frontier().clone(), &last, from(&table)).unwrap();
        assert_eq!(resumed.last_leaf(), leaf_hash(&last));
        assert_eq!(kept.last_leaf(), leaf_hash(&last));
        let whole = tree(size + 600);
        for leaf in leaves(size + 600)
            .into_iter()
            .skip(usize::try_from(size).unwrap())
        {
            resumed.append(leaf);
        }
        assert_eq!(resumed.root(), whole.root());
        assert_eq!(
            resumed.changed(size).unwrap(),
            whole.changed(size).unwrap(),
            "size {size}"
        );
    }
}

#[test]
fn an_empty_frontier_resumes_as_the_empty_tree() {
    let table = BTreeMap::new();
    let tree = Tree::resume(Frontier::default(), b"", from(&table)).unwrap();
    assert_eq!(
        (tree.size(), tree.root()),
        (0, super::super::tree::empty_root())
    );
}

#[test]
fn tiles_of_another_log_or_with_a_changed_byte_are_not_resumed_from() {
    let (kept, table) = stored(&[300]);
    let resume = |last: u64, table: &BTreeMap<_, _>| {
        Tree::resume(kept.frontier().clone(), &last.to_le_bytes(), from(table))
    };
    assert!(resume(299, &table).is_ok());
    let refused = resume(298, &table).unwrap_err();
    assert_eq!((refused.level, refused.index), (0, 1), "another record");
    let (_, shorter) = stored(&[299]);
    assert!(resume(299, &shorter).is_err());
    for at in [0, 31, 43 * HASH_BYTES] {
        let mut bad = table.clone();
        bad.get_mut(&(0, 1)).unwrap()[at] ^= 1;
        assert!(resume(299, &bad).is_err(), "byte {at}");
    }
    let mut bad = table.clone();
    bad.get_mut(&(1, 0)).unwrap()[0] ^= 1;
    assert!(resume(299, &bad).is_err());
}

#[test]
fn dropped_tiles_are_gone_and_nothing_else_is() {
    let mut tree = tree(70_000);
    tree.drop_stored(69_700);
    assert!(tree.read(0, 271).is_err());
    assert_eq!(tree.read(0, 272).unwrap().len(), 256 * HASH_BYTES);
    assert_eq!(tree.read(0, 273).unwrap().len(), 112 * HASH_BYTES);
    assert!(tree.read(0, 274).is_err());
    assert!(tree.read(1, 0).is_err());
    assert_eq!(tree.read(1, 1).unwrap().len(), 17 * HASH_BYTES);
    assert_eq!(tree.read(2, 0).unwrap().len(), HASH_BYTES);
    assert!(tree.read(3, 0).is_err());
    assert!(tree.changed(0).is_err());
    let before = tree.root();
    tree.drop_stored(u64::MAX);
    tree.drop_stored(0);
    assert_eq!(tree.root(), before);
}
