//! How many requests of a caller may wait for their answers, as a share of what is free.
//!
//! A caller may hold twice as many slots as are free. Alone it has two thirds of all, two callers
//! that take what they can have two fifths each, and whoever comes next still finds some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lane::Key;

/// Slots that a caller may hold for each that is free.
const HELD_PER_FREE: usize = 2;

/// What each caller holds; no caller without a slot.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<Key, usize>>);

/// One slot of a caller; given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    caller: Key,
}

impl Shares {
    /// Takes a slot for a caller, of so many that are free; none where it holds its share.
    pub fn take(self: &Arc<Self>, caller: Key, free: usize) -> Option<Share> {
        let mut held = self.lock();
        let own = held.get(&caller).copied().unwrap_or(0);
        if own >= HELD_PER_FREE * free {
            return None;
        }
        held.insert(caller.clone(), own + 1);
        let shares = Arc::clone(self);
        Some(Share { shares, caller })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        if let Some(own) = held.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_schemas::record::Role;

    use super::*;

    const ALL: usize = 8_192;

    /// What a caller gets that takes all it can.
    fn greedy(shares: &Arc<Shares>, name: &str, taken: &mut Vec<Share>) -> usize {
        let before = taken.len();
        while let Some(share) = shares.take((Role::Platform, name.into()), ALL - taken.len()) {
            taken.push(share);
        }
        taken.len() - before
    }

    ///
    #[test]
    fn s09_however_greedy_the_first_callers_are_the_next_finds_room() {
        let (shares, mut taken) = (Arc::new(Shares::default()), Vec::new());
        let got: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| greedy(&shares, name, &mut taken))
            .into();
        assert_eq!(got, [5_462, 1_820, 607, 202]);
        // Once the first gives back, nobody has more than twice what is free.
        drop(taken.drain(..5_462));
        assert_eq!(greedy(&shares, "d", &mut taken), 3_642);
        drop(taken);
        assert!(shares.lock().is_empty());
    }
}
