//! Stored bytes: postcard, accepting only the one spelling of a value that this build writes.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// Reads a value that ends where the bytes end and that this build would write with the same bytes.
/// Postcard accepts over-long numbers, which would be a second spelling of the same value.
pub(crate) fn decode<'a, T>(bytes: &'a [u8]) -> Option<T>
where
    T: Serialize + Deserialize<'a>,
{
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    let same = postcard::serialize_with_flavor(&value, Same { rest: bytes });
    (rest.is_empty() && same.is_ok()).then_some(value)
}

/// Compares what is written with the bytes that are there. The comparison needs no memory, since a
/// replay makes it twice for every record.
struct Same<'a> {
    rest: &'a [u8],
}

impl Flavor for Same<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.rest.split_first() {
            Some((next, rest)) if *next == byte => self.rest = rest,
            _ => return Err(UNLIKE),
        }
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(UNLIKE)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        self.rest.is_empty().then_some(()).ok_or(UNLIKE)
    }
}

const UNLIKE: postcard::Error = postcard::Error::SerializeBufferFull;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_spelling_of_a_number_is_read() {
        assert_eq!(decode::<(u32, u8)>(&[0, 7]), Some((0, 7)));
        assert_eq!(decode::<(u32, u8)>(&[0x80, 0x00, 7]), None);
        assert_eq!(decode::<(u32, u8)>(&[0, 7, 0]), None, "a trailing byte");
        assert_eq!(decode::<(u32, u8)>(&[0]), None, "a byte too few");
    }
}
