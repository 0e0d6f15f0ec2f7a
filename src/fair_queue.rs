//! A bounded queue in which callers take turns, so that a caller that floods only delays itself.
//!
//! ```text
//!   push ─▶ a: ▢▢▢▢▢ ─┐
//!           b: ▢      ├─▶ pop: a, b, c, a, c, a, …
//!           c: ▢▢    ─┘
//! ```
//! Each key has its own FIFO, and the keys take turns. A full queue sheds the newest item of the
//! key with the most items, and only if the new item's key would still have fewer. So a key's share
//! is never less than the bound divided by the number of waiting keys. A sender that can invent
//! keys can take more shares: choose a key that a sender cannot shape.
//!
//! It holds no lock and knows no clock; a caller that shares it between threads adds the mutex.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The waiting items, by key.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// Each key's items, oldest first; a key without an item has no entry.
    waiting: HashMap<K, VecDeque<T>>,
    /// The same keys, each once; the first has the next turn.
    turns: VecDeque<K>,
    len: usize,
    max: usize,
    max_per_key: usize,
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    /// Makes an empty queue for at most `max` items in all and `max_per_key` of one key.
    pub fn new(max: usize, max_per_key: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            max,
            max_per_key,
        }
    }

    /// Adds an item, and returns the one that it displaced, if any.
    ///
    /// # Errors
    /// The item itself, if its key has as many as it may, or if the queue is full and no key would
    /// still have more items than this one.
    pub fn push(&mut self, key: K, item: T) -> Result<Option<T>, T> {
        let own = self.waiting_of(&key);
        if own >= self.max_per_key {
            return Err(item);
        }
        let displaced = if self.len < self.max {
            None
        } else {
            match self.displaced_by(own) {
                Some(displaced) => Some(displaced),
                None => return Err(item),
            }
        };
        if own == 0 {
            self.turns.push_back(key.clone());
        }
        self.waiting.entry(key).or_default().push_back(item);
        self.len += 1;
        Ok(displaced)
    }

    /// Removes the oldest item of the key that has the turn.
    pub fn pop(&mut self) -> Option<(K, T)> {
        self.pop_ready(|_, _| true)
    }

    /// Removes the first item that is ready, in the order of turns; a key without one keeps its
    /// turn.
    pub fn pop_ready(&mut self, mut is_ready: impl FnMut(&K, &T) -> bool) -> Option<(K, T)> {
        let (turn, at) = self.turns.iter().enumerate().find_map(|(turn, key)| {
            let at = self.waiting[key]
                .iter()
                .position(|item| is_ready(key, item));
            Some((turn, at?))
        })?;
        let key = self.turns.remove(turn)?;
        let items = self.waiting.get_mut(&key)?;
        let item = items.remove(at)?;
        if items.is_empty() {
            self.waiting.remove(&key);
        } else {
            self.turns.push_back(key.clone());
        }
        self.len -= 1;
        Some((key, item))
    }

    /// Returns how many items of a key wait.
    pub fn waiting_of(&self, key: &K) -> usize {
        self.waiting.get(key).map_or(0, VecDeque::len)
    }

    /// Returns how many items wait in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no item waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes all items, in the order of their turns.
    pub fn drain(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.pop())
            .map(|(_, item)| item)
            .collect()
    }

    /// Removes the newest item of the key that has the most, unless a key with `own` items would
    /// then have as many. Of several such keys, it is the one with the last turn.
    fn displaced_by(&mut self, own: usize) -> Option<T> {
        let most = self
            .turns
            .iter()
            .max_by_key(|key| self.waiting[*key].len())?;
        let items = self.waiting.get_mut(most)?;
        if own + 1 >= items.len() {
            return None;
        }
        self.len -= 1;
        items.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8;

    fn queue() -> FairQueue<&'static str, usize> {
        FairQueue::new(MAX, MAX)
    }

    #[test]
    fn keys_take_turns_whatever_their_order() {
        let mut queue = queue();
        for n in 0..4 {
            queue.push("flood", n).unwrap();
        }
        queue.push("quiet", 10).unwrap();
        queue.push("third", 20).unwrap();
        queue.push("third", 21).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, n)| n).collect();
        assert_eq!(order, [0, 10, 20, 1, 21, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_newcomer_waits_for_one_item_of_each_key_at_most() {
        let mut queue = queue();
        queue.push("a", 0).unwrap();
        queue.push("a", 1).unwrap();
        assert_eq!(queue.pop(), Some(("a", 0)));
        queue.push("b", 2).unwrap();
        assert_eq!(queue.pop(), Some(("a", 1)));
        queue.push("a", 3).unwrap();
        assert_eq!(queue.pop(), Some(("b", 2)), "a had its turn");
    }

    #[test]
    fn a_full_queue_sheds_the_newest_of_the_key_with_the_most() {
        let mut queue = queue();
        for n in 0..MAX {
            assert_eq!(queue.push("flood", n), Ok(None));
        }
        assert_eq!(
            queue.push("flood", 99),
            Err(99),
            "it displaces no other item"
        );
        for n in 0..MAX / 2 {
            assert_eq!(queue.push("quiet", 10 + n), Ok(Some(MAX - 1 - n)));
        }
        assert_eq!(queue.push("quiet", 99), Err(99), "both have half");
        assert_eq!(queue.push("flood", 99), Err(99));
        assert_eq!(
            queue.push("third", 20),
            Ok(Some(13)),
            "of equals the one with the last turn"
        );
        assert_eq!(queue.len(), MAX);
    }

    #[test]
    fn a_key_has_a_bound_of_its_own_below_the_bound_of_all() {
        let mut queue = FairQueue::new(MAX, 2);
        assert_eq!(queue.push("a", 1), Ok(None));
        assert_eq!(queue.push("a", 2), Ok(None));
        assert_eq!(queue.push("a", 3), Err(3));
        assert_eq!(queue.push("b", 4), Ok(None));
        queue.pop().unwrap();
        assert_eq!(queue.push("a", 3), Ok(None));
    }

    #[test]
    fn what_is_not_ready_is_passed_over_and_keeps_its_turn() {
        let mut queue = queue();
        queue.push("a", 1).unwrap();
        queue.push("a", 2).unwrap();
        queue.push("b", 3).unwrap();
        assert_eq!(queue.pop_ready(|key, _| *key != "a"), Some(("b", 3)));
        assert_eq!(queue.pop_ready(|key, _| *key != "a"), None);
        queue.push("b", 4).unwrap();
        assert_eq!(queue.pop_ready(|_, n| *n != 1), Some(("a", 2)));
        assert_eq!(queue.pop(), Some(("b", 4)));
        assert_eq!(queue.pop(), Some(("a", 1)));
    }

    #[test]
    fn what_is_given_up_comes_in_the_order_of_turns() {
        let mut queue = queue();
        for n in 0..3 {
            queue.push("a", n).unwrap();
        }
        queue.push("b", 10).unwrap();
        assert_eq!(queue.drain(), [0, 10, 1, 2]);
        assert!(queue.is_empty() && queue.drain().is_empty());
        assert_eq!(queue.push("a", 7), Ok(None));
        assert_eq!((queue.waiting_of(&"a"), queue.waiting_of(&"b")), (1, 0));
    }

    /// S-09: however many items a flood has sent, each of the other keys keeps its share.
    #[test]
    fn s09_a_flood_takes_no_other_keys_place() {
        let mut queue = FairQueue::new(64, 64);
        let mut shed = 0;
        for n in 0..10_000_usize {
            shed += usize::from(!matches!(queue.push("flood".to_owned(), n), Ok(None)));
            if n % 1_000 == 999 {
                let key = format!("quiet-{}", n / 1_000);
                for item in 0..4 {
                    assert_eq!(queue.push(key.clone(), item).map(|_| ()), Ok(()), "{key}");
                }
            }
        }
        for at in 0..10 {
            assert_eq!(queue.waiting_of(&format!("quiet-{at}")), 4);
        }
        assert_eq!(queue.waiting_of(&"flood".to_owned()), 24);
        assert_eq!(queue.len(), 64);
        assert_eq!(shed, 10_000 - 64);
        let first: Vec<_> = (0..11).map(|_| queue.pop().unwrap().0).collect();
        let flood = first.iter().filter(|key| *key == "flood").count();
        assert_eq!(flood, 1, "every key has a turn before any key has two");
    }
}
