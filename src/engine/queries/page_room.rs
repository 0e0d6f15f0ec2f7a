//! A page ends by its bytes as well as by its count, so that no sender of a stored text can make
//! the page larger than a broker carries.

use serde::Serialize;

/// Bytes of a page's JSON. With frame and headers it stays below a broker's smallest `max_payload`.
pub const PAGE_BYTES_MAX: usize = 384 * 1024;

/// The room left on a page.
#[derive(Debug)]
pub struct PageRoom {
    bytes: usize,
    is_empty: bool,
}

impl Default for PageRoom {
    fn default() -> Self {
        Self {
            bytes: PAGE_BYTES_MAX,
            is_empty: true,
        }
    }
}

impl PageRoom {
    /// Takes items that belong together if they find room, and returns whether they did. The first
    /// items always do: an empty page would not lead on to the next.
    pub fn takes<T: Serialize>(&mut self, items: &[T]) -> bool {
        let size = |item: &T| serde_json::to_vec(item).map_or(0, |json| json.len() + 1);
        let wanted: usize = items.iter().map(size).sum();
        let fits = wanted <= self.bytes || self.is_empty;
        if fits {
            self.bytes = self.bytes.saturating_sub(wanted);
            self.is_empty = false;
        }
        fits
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod page_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_its_first_items_and_ends_before_it_is_too_large() {
        let large = "x".repeat(PAGE_BYTES_MAX);
        let mut room = PageRoom::default();
        assert!(room.takes(&[&large]), "the first");
        assert!(!room.takes(&[""]));
        let half = "x".repeat(PAGE_BYTES_MAX / 2 - 3);
        let mut room = PageRoom::default();
        assert!(room.takes(&[&half, &half]));
        assert!(!room.takes(&[""]), "not one byte more");
    }
}
