//! What damage makes of bytes: every truncation, and every single byte replaced.

/// Every proper prefix.
pub fn truncations(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).map(|cut| &bytes[..cut])
}

/// Hands `visit` every copy of `bytes` in which one byte is another one of `values`.
pub fn mutations(bytes: &[u8], values: &[u8], mut visit: impl FnMut(&[u8])) {
    let mut mutant = bytes.to_vec();
    for (at, &original) in bytes.iter().enumerate() {
        for &value in values.iter().filter(|&&value| value != original) {
            mutant[at] = value;
            visit(&mutant);
        }
        mutant[at] = original;
    }
}

/// Every byte there is.
pub fn every_byte() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

/// Bytes that mean something in JSON or in UTF-8, or that can mean nothing in either.
pub const JSON_BYTES: &[u8] = b"\"},\\0\xc3";

#[test]
fn each_byte_is_replaced_by_each_other_byte_once() {
    let mut count = 0;
    mutations(b"ab", &every_byte(), |mutant| {
        assert_ne!(mutant, b"ab");
        count += 1;
    });
    assert_eq!(count, 2 * 255);
}
