//! The pages of `docs/`: each is in its summary, and each file of ours that a page names is there.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_page_is_in_the_summary_and_every_file_that_a_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let summary = fs::read_to_string(root.join("docs/SUMMARY.md")).unwrap();
    let mut found = Vec::new();
    let pages = pages_below(&root.join("docs"));
    assert!(pages.len() > 3, "only {} pages were found", pages.len());
    for page in pages {
        let name = page.strip_prefix(root.join("docs")).unwrap();
        let name = name.to_str().unwrap();
        if name != "SUMMARY.md" && !summary.contains(&format!("({name})")) {
            found.push(format!("docs/{name} is not in docs/SUMMARY.md"));
        }
        let text = fs::read_to_string(&page).unwrap();
        for file in named_files(&text).filter(|file| !root.join(file).exists()) {
            found.push(format!("docs/{name} names {file}, which is not there"));
        }
        for link in links(&text).filter(|link| !page.with_file_name(link).exists()) {
            found.push(format!("docs/{name} links to {link}, which is not there"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_file_and_a_link_are_read_from_a_page() {
    let text = "`src/a/b.rs::f` and `tests/x` [y](z.md) [w](https://example.org) `cargo test`";
    assert_eq!(
        named_files(text).collect::<Vec<_>>(),
        ["src/a/b.rs", "tests/x"]
    );
    assert_eq!(links(text).collect::<Vec<_>>(), ["z.md"]);
}

/// The files of this repository that a text names in backticks.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let rooms = [
        "src/",
        "schemas/",
        "projections/",
        "tests/",
        "docker/",
        "vendor/",
        "examples/",
    ];
    let quoted = text.split('`').skip(1).step_by(2);
    let files = quoted.map(|quoted| quoted.split("::").next().unwrap_or(quoted));
    files.filter(move |file| rooms.iter().any(|room| file.starts_with(room)) && !file.contains(' '))
}

/// The links to other pages.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.filter(|link| link.ends_with(".md") && !link.contains("://"))
}

fn pages_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let deeper = folders.iter().flat_map(|folder| pages_below(folder));
    files.into_iter().chain(deeper).collect()
}
