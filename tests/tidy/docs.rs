//! The pages of `docs/` and the README: each page is in the summary, every link with its anchor
//! leads somewhere, every file and item that a page names exists, and so does every page that a
//! source names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::source::{Source, words};

/// Pages outside of `docs/` that people read too.
const PAGES_ELSEWHERE: &[&str] = &["README.md", "CHANGELOG.md", "docker/README.md"];
/// The folders of this repository: a name in backticks that begins with one is a path.
const ROOMS: &[&str] = &[
    ".ci/",
    "docker/",
    "docs/",
    "examples/",
    "projections/",
    "schemas/",
    "src/",
    "tests/",
    "vendor/",
];
/// The words before the name of an item at its definition.
const DEFINE: &[&str] = &[
    "const",
    "enum",
    "fn",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
];
/// Documents that are not in this repository, so no source may cite them.
const ELSEWHERE: &[&str] = &[
    concat!("CONTR", "ACT"),
    concat!("DES", "IGN"),
    concat!("EVENT", "-LOG"),
    concat!("SECU", "RITY"),
];

/// A page and its text.
pub struct Page {
    /// Path from the workspace's root, with slashes.
    pub path: String,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, from the disk.
pub fn pages() -> Vec<Page> {
    let mut files = Vec::new();
    below(&root().join("docs"), &mut files);
    files.extend(PAGES_ELSEWHERE.iter().map(|page| root().join(page)));
    files.sort();
    let page = |file: PathBuf| Page {
        path: file.strip_prefix(root()).unwrap().to_str().unwrap().into(),
        text: fs::read_to_string(&file).unwrap(),
    };
    files.into_iter().map(page).collect()
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
}

#[test]
fn every_page_is_in_the_summary_and_every_link_file_and_item_of_a_page_exists() {
    let pages = pages();
    assert!(pages.len() > 40, "only {} pages were found", pages.len());
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let mut found = Vec::new();
    for page in &pages {
        let name = page.path.strip_prefix("docs/").unwrap_or("SUMMARY.md");
        if name != "SUMMARY.md" && !summary.contains(&format!("({name})")) {
            found.push(format!("docs/{name} is not in docs/SUMMARY.md"));
        }
        check(page, &mut found);
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_document_that_a_source_cites_is_in_the_repository() {
    let mut found = Vec::new();
    for source in crate::source::all() {
        if !source.is_in("tests/tidy") {
            check_source(&source, &mut found);
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Finds links, files and items of a page that do not exist.
fn check(page: &Page, found: &mut Vec<String>) {
    let prose = without_blocks(&page.text);
    for link in links(&prose) {
        if !leads(&page.path, link) {
            found.push(format!(
                "{} links to {link}, which does not exist",
                page.path
            ));
        }
    }
    for (file, items) in named(&prose) {
        if !root().join(file).exists() {
            found.push(format!("{} names {file}, which does not exist", page.path));
        } else if let Some(item) = items.iter().find(|item| !is_defined(file, item)) {
            found.push(format!(
                "{} names {item} of {file}, which does not exist",
                page.path
            ));
        }
    }
}

/// Finds cited documents that do not exist.
fn check_source(source: &Source, found: &mut Vec<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
    for word in source.text.split(|c| !is_word(c)) {
        let at = word.as_ptr() as usize - source.text.as_ptr() as usize;
        let word = word.trim_end_matches('.');
        if word.starts_with("docs/") && word.contains(".md") && !leads("README.md", word) {
            found.push(source.at(at, &format!("{word} does not exist")));
        }
        let name = word.strip_suffix(".md").unwrap_or(word);
        if ELSEWHERE.contains(&name) {
            let what = format!("{word} is not in this repository: name the page of docs/");
            found.push(source.at(at, &what));
        }
    }
}

/// A text without its fenced blocks; the lines stay.
pub fn without_blocks(text: &str) -> String {
    let mut is_inside = false;
    let lines = text.lines().map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_inside ^= is_fence;
        if is_inside || is_fence { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The targets of a text's links in the repository.
fn links(text: &str) -> Vec<&str> {
    let inline = text.split("](").skip(1);
    let inline = inline.filter_map(|rest| rest.split([')', ' ', '\n']).next());
    let below = text.lines().filter_map(|line| {
        let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
        (!name.contains(']')).then(|| target.split(' ').next().unwrap_or_default())
    });
    let html = ["href=\"", "src=\""].into_iter().flat_map(|attribute| {
        let targets = text.split(attribute).skip(1);
        targets.filter_map(|rest| rest.split('"').next())
    });
    let is_ours = |link: &&str| !link.contains("://") && !link.starts_with("mailto:");
    inline.chain(below).chain(html).filter(is_ours).collect()
}

/// Whether a link of a page leads to a file of the repository, and to a heading if it names one.
fn leads(page: &str, link: &str) -> bool {
    let (target, anchor) = link
        .split_once('#')
        .map_or((link, None), |(target, anchor)| (target, Some(anchor)));
    let file = if target.is_empty() {
        root().join(page)
    } else {
        root().join(page).with_file_name(target)
    };
    // A link must not leave the repository: a folder beside this checkout could have the file.
    let depth = file.strip_prefix(root()).map_or(-1, |inside| {
        inside.components().fold(0_i32, |depth, part| match part {
            Component::ParentDir if depth <= 0 => i32::MIN / 2,
            Component::ParentDir => depth - 1,
            _ => depth + 1,
        })
    });
    if depth < 0 || !file.exists() {
        return false;
    }
    anchor.is_none_or(|anchor| {
        fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(anchor))
    })
}

/// The anchors of a page's headings, in the form of mdBook and code hosts.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let prose = without_blocks(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    for heading in headings {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let base: String = title.chars().filter(kept).collect();
        let base = base.replace(' ', "-");
        let again = (1..).map(|nth| format!("{base}-{nth}"));
        let mut names = std::iter::once(base.clone()).chain(again);
        found.extend(names.find(|name| !found.contains(name)));
    }
    found
}

/// The files of this repository that a text names in backticks, each with its items.
pub fn named(text: &str) -> Vec<(&str, Vec<&str>)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|quoted| {
        let path = quoted.split(" ×").next().unwrap_or(quoted);
        ROOMS.iter().any(|room| path.starts_with(room)) && !path.contains([' ', '\n', '*', '{'])
    });
    paths
        .map(|path| {
            let path = path.split(" ×").next().unwrap_or(path);
            let mut parts = path.split("::");
            (parts.next().unwrap_or_default(), parts.collect())
        })
        .collect()
}

/// Whether a file of ours defines an item, or implements one of that name.
pub fn is_defined(file: &str, item: &str) -> bool {
    let Ok(text) = fs::read_to_string(root().join(file)) else {
        return false;
    };
    let code = Source::new(file, &text, false).code;
    let all: Vec<&str> = words(&code).map(|(_, word)| word).collect();
    let defined = |pair: &[&str]| pair[1] == item && DEFINE.contains(&pair[0]);
    let is_owner = || {
        let mut headers = code.lines().filter(|line| line.starts_with("impl"));
        headers.any(|line| words(line).any(|(_, word)| word == item))
    };
    all.windows(2).any(defined) || is_owner()
}

#[test]
fn links_files_and_items_are_read_from_a_page() {
    let text = "`src/a/b.rs::T::f ×2` and `tests/x` [y](z.md#a) [w](https://example.org) \
        `cargo test`\n```sh\n[no](no.md) `src/no.rs`\n```\n[below]: docs/b.md\n";
    let prose = without_blocks(text);
    let expected = [("src/a/b.rs", vec!["T", "f"]), ("tests/x", vec![])];
    assert_eq!(named(&prose), expected);
    assert_eq!(links(&prose), ["z.md#a", "docs/b.md"]);
    let headings = "# The `[a]` of B-c, d!\n## X\n```\n# no\n```\n## X\n";
    let expected = ["the-a-of-b-c-d", "x", "x-1"].map(Into::into);
    assert_eq!(anchors(headings), expected.into());
}

#[test]
fn missing_links_files_and_items_are_found() {
    let here = "tests/tidy/docs.rs";
    let text = format!(
        "[a](no.md) [b](SUMMARY.md#no) [d](../../x.md) [e](SUMMARY.md#tutorial)\n\
         # Here\n`src/no.rs` `{here}::no_such` `{here}::Page` `{here}::root`\n"
    );
    let path = "docs/x.md".into();
    let mut found = Vec::new();
    check(&Page { path, text }, &mut found);
    assert_eq!(found.len(), 5, "{found:?}");
    for lost in [
        "no.md",
        "SUMMARY.md#no",
        "../../x.md",
        "src/no.rs",
        "no_such",
    ] {
        assert!(found.iter().any(|line| line.contains(lost)), "{lost}");
    }
    let cited = format!("//! As {} §3 and docs/no.md say.", ELSEWHERE[0]);
    let mut found = Vec::new();
    check_source(&Source::new("src/x.rs", &cited, false), &mut found);
    assert_eq!(found.len(), 2, "{found:?}");
}
