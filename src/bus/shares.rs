//! How many requests of a caller may wait for their answers, as a share of the free slots.
//!
//! A caller may hold twice as many slots as are free. One greedy caller alone holds two thirds of
//! all slots, two hold two fifths each, and a further caller still finds some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lane::Key;

/// How many slots a caller may hold for each free one.
const HELD_PER_FREE: usize = 2;

/// How many slots each caller holds; a caller without a slot has no entry.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<Key, usize>>);

/// One slot of a caller, released on drop.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    caller: Key,
}

impl Shares {
    /// Takes a slot for a caller, given how many are free; `None` if the caller holds its share.
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

    /// Takes slots until there is none for this caller, and returns how many it got.
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
        // Once the first releases some, no caller has more than twice the free slots.
        drop(taken.drain(..5_462));
        assert_eq!(greedy(&shares, "d", &mut taken), 3_642);
        drop(taken);
        assert!(shares.lock().is_empty());
    }
}
