//! Secrets are not shown or stored by accident: a type that is wiped when it is dropped neither
//! serialises nor prints itself.

use crate::source::{Source, closing, words};

/// Types that may serialise: a verifier's stored form, which is sealed first; a protected field,
/// which fails while it is clear; and a text of requests and replies, which no record has.
const MAY_SERIALISE: &[(&str, &str)] = &[
    ("src/crypto/password.rs", "StoredVerifier"),
    ("schemas/src/sealed.rs", "Protected"),
    ("schemas/src/secret.rs", "SecretText"),
];

/// Finds types that hold secrets and derive a trait that would show them.
pub fn check(source: &Source, found: &mut Vec<String>) {
    let code = &source.product;
    for (at, _) in code.match_indices("#[derive(") {
        let open = at + "#[derive".len();
        let list = &code[open..closing(code, open)];
        let Some(item) = Item::after(code, open) else {
            continue;
        };
        let derives = |name: &str| words(list).any(|(_, word)| word == name);
        let may_serialise = MAY_SERIALISE.contains(&(source.path.as_str(), item.name));
        let holds = derives("ZeroizeOnDrop") || item.body.contains("Zeroizing<");
        if holds && derives("Debug") {
            let what = format!(
                "{} would print a secret: write its Debug by hand",
                item.name
            );
            found.push(source.at(at, &what));
        }
        let serialises =
            derives("Serialize") || code.contains(&format!("impl Serialize for {} ", item.name));
        if holds && serialises && !may_serialise {
            let what = format!(
                "{} would store a secret: seal it, as Protected does",
                item.name
            );
            found.push(source.at(at, &what));
        }
    }
}

/// A struct or an enum.
struct Item<'a> {
    name: &'a str,
    /// Its fields or variants.
    body: &'a str,
}

impl<'a> Item<'a> {
    /// The item that follows a place in the code.
    fn after(code: &'a str, from: usize) -> Option<Self> {
        let rest = &code[from..];
        let mut words = words(rest).skip_while(|(_, word)| !matches!(*word, "struct" | "enum"));
        words.next()?;
        let (at, name) = words.next()?;
        let open = rest[at..].find(['{', '(', ';'])? + at;
        let body = match rest.as_bytes()[open] {
            b';' => "",
            _ => &rest[open..closing(rest, open)],
        };
        Some(Self { name, body })
    }
}
