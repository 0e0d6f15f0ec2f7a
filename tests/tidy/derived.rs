//! Every hash, tag, seal and derived key is made at a place that
//! `docs/explanation/derived-values.md` names with its key, its cost per guess and what ends it;
//! and every place that it names makes one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::source::{Source, closing, words};

pub const PAGE: &str = "docs/explanation/derived-values.md";

/// Functions of libraries that derive a value which does not reveal its input, also functions that
/// are not used yet.
const LIBRARY: &[&str] = &[
    "Aes128Gcm",
    "Aes256Gcm",
    "Argon2",
    "Blake2b512",
    "Blake2s256",
    "Blake2sMac256",
    "ChaCha20Poly1305",
    "Cmac",
    "DefaultHasher",
    "Hkdf",
    "Hmac",
    "Kmac",
    "Md5",
    "RandomState",
    "Scrypt",
    "Sha1",
    "Sha224",
    "Sha256",
    "Sha384",
    "Sha512",
    "Sha3_256",
    "SigningKey",
    "SimpleHmac",
    "SipHasher",
    "XChaCha20Poly1305",
    "bcrypt",
    "blake3",
    "crc32fast",
    "md5",
    "pbkdf2",
    "scrypt",
    "siphasher",
];
/// Our own functions that derive such a value by calling another.
const OURS: &[&str] = &[
    "body_tag",
    "derive",
    "derived_key",
    "digest16",
    "hotp",
    "name_hash",
    "open_part",
    "process_tag",
    "recorded_source_key",
    "seal",
    "source_tag",
    "tag",
];

/// The places that call them and how often: file, type and function, as the page names them.
pub fn places(source: &Source) -> BTreeMap<String, usize> {
    let code = &source.product;
    let is_ours = ["src", "schemas/src", "projections/src"]
        .iter()
        .any(|folder| source.is_in(folder));
    let mut found = BTreeMap::new();
    let (mut item, mut before, mut owner) = ("", "", (0, ""));
    for (at, word) in words(code).filter(|_| is_ours) {
        let rest = &code[at + word.len()..];
        let follows = |ends: &[&str]| ends.iter().any(|end| rest.starts_with(end));
        let is_lifetime = code[..at].ends_with('\'');
        if word == "impl" && code[..at].ends_with('\n') {
            owner = block(code, at);
        } else if matches!(before, "fn" | "static") {
            item = word;
        } else if !is_imported(&code[..at])
            && (LIBRARY.contains(&word) && follows(&["(", "::"])
                || OURS.contains(&word) && follows(&["("]))
        {
            let of_type = if at < owner.0 {
                format!("{}::", owner.1)
            } else {
                String::new()
            };
            *found
                .entry(format!("{}::{of_type}{item}", source.path))
                .or_default() += 1;
        }
        before = if is_lifetime { "" } else { word };
    }
    found
}

/// Where an `impl` block ends, and the type that it is for.
fn block(code: &str, at: usize) -> (usize, &str) {
    let Some(open) = code[at..].find('{') else {
        return (at, "");
    };
    let header = &code[at..at + open];
    let after = match header["impl".len()..].strip_prefix('<') {
        Some(parameters) => parameters
            .split_once("> ")
            .map_or(parameters, |(_, rest)| rest),
        None => &header["impl".len()..],
    };
    let subject = after
        .rsplit_once(" for ")
        .map_or(after, |(_, subject)| subject);
    let name = words(subject).next().map_or("", |(_, name)| name);
    (closing(code, at + open), name)
}

/// Whether the word is only imported, or in an attribute.
fn is_imported(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
    line.starts_with("use ") || line.starts_with("pub use ") || before.ends_with("#[")
}

/// The places that the page names; a place with several values has a count after its name, `×2`.
fn named(page: &str) -> BTreeMap<String, usize> {
    let quoted = page.split('`').skip(1).step_by(2);
    let places = quoted.filter(|text| text.contains(".rs::"));
    let counted = places.map(|text| match text.split_once(" ×") {
        Some((place, times)) => (place.to_owned(), times.parse().unwrap()),
        None => (text.to_owned(), 1),
    });
    counted.collect()
}

/// Finds places that the page does not name, and names without a place.
pub fn check(sources: &[Source], found: &mut Vec<String>) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let places = sources.iter().flat_map(places).collect();
    compare(&places, &named(&page), found);
}

fn compare(
    places: &BTreeMap<String, usize>,
    named: &BTreeMap<String, usize>,
    found: &mut Vec<String>,
) {
    for (place, times) in places
        .iter()
        .filter(|(place, times)| named.get(*place) != Some(times))
    {
        found.push(format!(
            "{place} derives {times} values: add to {PAGE} their source, their key, and what ends them"
        ));
    }
    for (name, _) in named.iter().filter(|(name, _)| !places.contains_key(*name)) {
        found.push(format!("{PAGE}: {name} derives nothing"));
    }
}

#[test]
fn a_new_place_and_a_place_that_is_gone_are_found() {
    let text = "use sha2::Sha256;\n#[derive(Clone)]\nstruct T;\nfn a() { Sha256::digest(b\"x\"); }\n\
        fn b(x: &'static T) { Hmac::<Sha256>::new(k); }\n\
        static C: L = L::new(|| x.fold(Sha256::new()));\n\
        impl<'a> From<u8> for T<'a> {\n    fn d() { keyring.name_hash(tag(x)); }\n}\n\
        fn tag(x: u8) {}\n// Sha256::digest(\nfn e() {}\n#[cfg(test)]\nfn f() { tag(x) }\n";
    let places = places(&Source::new("src/x.rs", text, false));
    let expected = [("a", 1), ("b", 1), ("C", 1), ("T::d", 2)];
    let expected = expected.map(|(item, times)| (format!("src/x.rs::{item}"), times));
    assert_eq!(places, expected.into_iter().collect());
    let page = "`src/x.rs::a` and `src/x.rs::b`, `src/x.rs::T::d`, `src/x.rs::gone ×3`, `T`";
    let mut found = Vec::new();
    compare(&places, &named(page), &mut found);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("src/x.rs::C ") && found[1].starts_with("src/x.rs::T::d "));
    assert!(found[2].contains("src/x.rs::gone"));
}
