//! The memory that password hashes are made in, kept for the next one.
//!
//! An allocator that is given 19 MiB back keeps it, once for each of its arenas: after a hundred
//! logins that were 340 MiB. So there are only as many as hashes were made at the same time.

use std::collections::TryReserveError;
use std::sync::{Mutex, PoisonError};

use argon2::Block;

static SPARE: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// Does some work in so many blocks, and wipes them.
///
/// # Errors
/// [`TryReserveError`] where there is no memory for them.
pub fn in_blocks<T>(
    count: usize,
    work: impl FnOnce(&mut [Block]) -> T,
) -> Result<T, TryReserveError> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    // Memory of another size is of an older policy, and is given back.
    let mut blocks = spare
        .filter(|spare| spare.len() == count)
        .unwrap_or_default();
    blocks.try_reserve_exact(count - blocks.len())?;
    blocks.resize(count, Block::new());
    let done = work(&mut blocks);
    blocks.fill(Block::new());
    SPARE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(blocks);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hash_left_behind_is_wiped_before_the_next() {
        // Of this size no other test makes any.
        let seen = |blocks: &mut [Block]| {
            let is_clean = blocks
                .iter()
                .all(|b| b.as_ref().iter().all(|word| *word == 0));
            blocks[0].as_mut()[0] = 7;
            (is_clean, blocks.len())
        };
        for _ in 0..3 {
            assert_eq!(in_blocks(21, seen).unwrap(), (true, 21));
        }
        let kept = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<_> = kept.iter().filter(|spare| spare.len() == 21).collect();
        assert_eq!(kept.len(), 1, "the same memory served all three");
        assert_eq!(kept[0].capacity(), 21);
    }
}
