//! The sources as the rules read them: without comments, texts and tests if a rule ignores these.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The folders of our sources.
const FOLDERS: &[&str] = &[
    "src",
    "schemas/src",
    "schemas/tests",
    "projections/src",
    "projections/tests",
    "tests",
    "examples",
];

/// One source file. All views have the same lines.
pub struct Source {
    /// Path from the workspace's root, with slashes.
    pub path: String,
    /// The text of the file.
    pub text: String,
    /// Comments and the insides of texts replaced by spaces.
    pub code: String,
    /// The code without items that are compiled only for tests; empty in a file of tests.
    pub product: String,
    /// Whether the file has nothing but tests.
    pub only_tests: bool,
}

impl Source {
    /// Prepares a file; `only_tests` says that no product code is in it.
    pub fn new(path: &str, text: &str, only_tests: bool) -> Self {
        let code = blank_comments_and_texts(text);
        let product = if only_tests {
            blank(&code, &[(0, code.len())])
        } else {
            blank_tests(&code)
        };
        Self {
            path: path.into(),
            text: text.into(),
            code,
            product,
            only_tests,
        }
    }

    /// Whether the file is in that folder, or is that file.
    pub fn is_in(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A finding at a byte of the text, or of any view of it.
    pub fn at(&self, byte: usize, what: &str) -> String {
        let line = self.text.as_bytes()[..byte]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// Every source of the workspace.
pub fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in FOLDERS {
        collect(root, &root.join(folder), &mut texts);
    }
    texts.sort();
    let tests: BTreeSet<String> = texts
        .iter()
        .flat_map(|(path, text)| test_files(path, &blank_comments_and_texts(text), text))
        .collect();
    let only_tests = |path: &str| {
        let outside = path.starts_with("tests/") || path.contains("/tests/");
        outside || path.starts_with("examples/") || tests.contains(path)
    };
    texts
        .iter()
        .map(|(path, text)| Source::new(path, text, only_tests(path)))
        .collect()
}

fn collect(root: &Path, folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            texts.push((name.replace('\\', "/"), fs::read_to_string(&path).unwrap()));
        }
    }
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// The files that `#[cfg(test)] mod name;` in a file declares.
fn test_files(path: &str, code: &str, text: &str) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').expect("sources are in folders");
    let children = match file.strip_suffix(".rs").unwrap() {
        "mod" | "lib" | "main" => folder.to_owned(),
        stem => format!("{folder}/{stem}"),
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices(TEST_ONLY) {
        let end = code[at..]
            .find([';', '{'])
            .map_or(code.len(), |end| at + end);
        let Some((_, name)) = code[at..end].rsplit_once("mod ") else {
            continue;
        };
        if let Some((_, named)) = text[at..end].split_once("#[path = \"") {
            let name = named.split('"').next().unwrap();
            found.push(format!("{folder}/{name}"));
        } else {
            found.push(format!("{children}/{}.rs", name.trim()));
        }
    }
    found
}

/// Replaces ranges by spaces and keeps the lines.
fn blank(text: &str, ranges: &[(usize, usize)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (from, to) in ranges {
        for byte in bytes[*from..*to].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
    }
    String::from_utf8(bytes).expect("ranges end at characters")
}

/// Blanks each item after `#[cfg(test)]`: up to its closing brace or its semicolon.
fn blank_tests(code: &str) -> String {
    let mut ranges = Vec::new();
    for (at, _) in code.match_indices(TEST_ONLY) {
        let end = code[at..]
            .find([';', '{'])
            .map_or(code.len(), |end| at + end);
        let end = match code.as_bytes().get(end) {
            Some(b'{') => closing(code, end),
            _ => end,
        };
        ranges.push((at, end));
    }
    blank(code, &ranges)
}

/// The byte after the bracket that closes the one at `open`, in code without texts.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The words of code with their places.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

/// Blanks comments and the insides of texts, so that neither can be taken for code.
fn blank_comments_and_texts(text: &str) -> String {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let token = token(rest, at > 0 && is_word_byte(text.as_bytes()[at - 1]));
        let (length, hidden) = token;
        if let Some((from, to)) = hidden {
            ranges.push((at + from, at + to));
        }
        at += length;
    }
    blank(text, &ranges)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the token that `rest` begins with, and the range of it to hide.
fn token(rest: &str, within_word: bool) -> (usize, Option<(usize, usize)>) {
    let line = || rest.find('\n').unwrap_or(rest.len());
    if rest.starts_with("//") {
        return (line(), Some((0, line())));
    }
    if rest.starts_with("/*") {
        let length = rest.find("*/").map_or(rest.len(), |end| end + 2);
        return (length, Some((0, length)));
    }
    if !within_word {
        let raw = rest.trim_start_matches(['b', 'c']);
        if let Some(after) = raw.strip_prefix('r') {
            let hashes = after.len() - after.trim_start_matches('#').len();
            if after[hashes..].starts_with('"') {
                let begin = rest.len() - after.len() + hashes + 1;
                let end = format!("\"{}", "#".repeat(hashes));
                let length = rest[begin..].find(&end).map_or(rest.len(), |at| begin + at);
                return ((length + end.len()).min(rest.len()), Some((begin, length)));
            }
        }
    }
    if rest.starts_with('"') {
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return (at + 1, Some((1, at))),
                _ => {}
            }
        }
        return (rest.len(), Some((1, rest.len())));
    }
    if let Some(after) = rest.strip_prefix('\'') {
        // A character, not a lifetime: it is closed after one character or one escape.
        let one = after.chars().next().map_or(0, char::len_utf8);
        let length = match after.strip_prefix('\\') {
            Some(escape) => escape
                .get(1..)
                .and_then(|tail| tail.find('\''))
                .map(|end| end + 2),
            None => after[one..].starts_with('\'').then_some(one),
        };
        if let Some(length) = length {
            return (length + 2, Some((1, length + 1)));
        }
        return (1, None);
    }
    (rest.chars().next().map_or(1, char::len_utf8), None)
}

#[test]
fn comments_texts_and_tests_are_not_code() {
    let text = "//! todo!\nlet a = \"x.unwrap()\"; /* } */ let b = r#\"\"{\"#; let c = '{'; let d: &'a u8 = b'\\'';\n#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }\nfn g() {}\n";
    let source = Source::new("src/x.rs", text, false);
    assert!(!source.code.contains("todo!"));
    assert_eq!(source.code.matches('{').count(), 3, "{}", source.code);
    assert!(source.code.contains("unwrap") && !source.product.contains("unwrap"));
    assert!(source.product.contains("fn g"));
    assert_eq!(source.code.lines().count(), text.lines().count());
}

#[test]
fn a_file_that_is_declared_for_tests_holds_only_tests() {
    let code = "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n#[cfg(test)]\nmod other;";
    assert_eq!(
        test_files("src/log/a.rs", code, code),
        ["src/log/a_tests.rs", "src/log/a/other.rs"]
    );
    let inner = "#[cfg(test)] mod b;";
    assert_eq!(test_files("src/log/mod.rs", inner, inner), ["src/log/b.rs"]);
}
