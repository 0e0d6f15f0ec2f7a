//! The forms in which a value could be in a file or a reply, and the search for them.

use std::collections::HashMap;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL, HEXLOWER, HEXUPPER};

/// Every form in which a value could be in a file.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        value.to_ascii_lowercase(),
        value.to_ascii_uppercase(),
        HEXLOWER.encode(value).into(),
        HEXUPPER.encode(value).into(),
        BASE32_NOPAD.encode(value).into(),
        BASE32_NOPAD.encode(value).to_lowercase().into(),
        String::from_utf8_lossy(value)
            .escape_default()
            .to_string()
            .into(),
    ];
    // In base64 a value has three forms, which depend on its offset in the text.
    for lead in 0..3 {
        let mut padded = vec![0; lead];
        padded.extend(value);
        let text = BASE64.encode(&padded);
        let url = BASE64URL.encode(&padded);
        // Characters that depend on neighbouring bytes are left out.
        let (from, to) = ((lead * 4).div_ceil(3), padded.len() * 4 / 3);
        if to > from + 6 {
            forms.push(text.as_bytes()[from..to].to_vec());
            forms.push(url.as_bytes()[from..to].to_vec());
        }
    }
    let list: Vec<String> = value.iter().map(u8::to_string).collect();
    forms.push(list.join(", ").into());
    forms.extend(in_groups(value));
    forms
}

/// A value and its hexadecimal form as people write them, in groups of four.
fn in_groups(value: &[u8]) -> Vec<Vec<u8>> {
    let texts = [
        value.to_ascii_lowercase(),
        value.to_ascii_uppercase(),
        HEXLOWER.encode(value).into(),
    ];
    let separated = |text: &Vec<u8>, by: u8| text.chunks(4).collect::<Vec<_>>().join(&by);
    texts
        .iter()
        .flat_map(|text| [b'-', b' '].map(|by| separated(text, by)))
        .collect()
}

/// The first bytes of a form, by which it is looked up; no form is shorter.
const START_BYTES: usize = 8;

/// A search for many values at once, in one pass.
pub struct Search {
    /// The forms by how they begin.
    forms: HashMap<[u8; START_BYTES], Vec<Vec<u8>>>,
    /// Whether any form begins with these two bytes: this skips most places in a file.
    begins: Vec<bool>,
}

impl Search {
    /// A search for every form of these values.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        Self::exactly(values.into_iter().flat_map(|value| forms(value)))
    }

    /// A search for these bytes as they are.
    pub fn exactly(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut search = Self {
            forms: HashMap::new(),
            begins: vec![false; 1 << 16],
        };
        for form in values {
            let start = *form.first_chunk().expect("a form is long enough");
            search.begins[usize::from(u16::from_le_bytes([start[0], start[1]]))] = true;
            search.forms.entry(start).or_default().push(form);
        }
        search
    }

    /// The forms that are in these bytes.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for at in 1..bytes.len() {
            let pair = u16::from_le_bytes([bytes[at - 1], bytes[at]]);
            if !self.begins[usize::from(pair)] {
                continue;
            }
            let rest = &bytes[at - 1..];
            let start: Option<&[u8; START_BYTES]> = rest.first_chunk();
            let forms = start.and_then(|start| self.forms.get(start));
            let here = forms.into_iter().flatten();
            let here = here.filter(|form| rest.starts_with(form));
            found.extend(here.map(|form| String::from_utf8_lossy(form).into_owned()));
        }
        found
    }
}

#[test]
fn the_search_itself_finds_every_form() {
    let word = b"canary-password-7Qx9";
    for (before, encode) in [
        (
            b"".as_slice(),
            (|bytes| BASE64.encode(bytes)) as fn(&[u8]) -> String,
        ),
        (b"a", |bytes| BASE64.encode(bytes)),
        (b"ab", |bytes| BASE64.encode(bytes)),
        (b"xy", |bytes| HEXLOWER.encode(bytes)),
        (b"xy", |bytes| format!("{bytes:?}")),
        (b"xy", |bytes| String::from_utf8(bytes.to_vec()).unwrap()),
        (b"??>", |bytes| BASE64URL.encode(bytes)),
    ] {
        let file = encode(&[before, word, b"some more"].concat());
        let search = Search::of([&word.to_vec()]);
        assert!(!search.found_in(file.as_bytes()).is_empty(), "{file}");
    }
}

#[test]
fn the_search_finds_values_written_in_groups() {
    for text in [
        "CANA-RY-P-ASSW-ORD-",
        "cana ry-p assw ord-",
        "6361-6e61-7279-2d70-6173-7377-6f72-642d",
    ] {
        let search = Search::of([&b"canary-password-".to_vec()]);
        assert!(!search.found_in(text.as_bytes()).is_empty(), "{text}");
    }
}
