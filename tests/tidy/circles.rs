//! The files as a graph: which file names which, through facades too. No circle of more than four
//! files, none across rooms, and no arrow from a lower room to a higher one.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrows::steps;
use crate::source::{Source, words};

/// Files that one circle may have.
const CIRCLE_FILES_MAX: usize = 4;

/// The rooms of the crate from low to high. The longest place that holds a file is its room.
const ROOMS: &[&str] = &[
    "src/crash_point.rs",
    "src/durable.rs",
    "src/fair_queue.rs",
    "src/crypto",
    "src/log",
    "src/account",
    "src/account/rules",
    "src/account/mod.rs",
    "src/account/guessing",
    "src/account/explain",
    "src/engine/clock.rs",
    "src/engine/data_folder.rs",
    "src/engine/deletable.rs",
    "src/engine/origin.rs",
    "src/engine/record_seals.rs",
    "src/engine/entries.rs",
    "src/engine/epochs.rs",
    "src/engine/counts",
    "src/engine/keys",
    "src/engine/accounts",
    "src/engine/erased.rs",
    "src/engine/copies",
    "src/engine/request.rs",
    "src/engine/message.rs",
    "src/engine/shared",
    "src/engine/intake",
    "src/engine/writer",
    "src/engine/followers",
    "src/engine/start",
    "src/engine/queries",
    "src/engine/running",
    "src/engine/mod.rs",
    "src/bus",
    "src/http",
    "src/cli",
];
/// Rooms whose files may form larger circles until they are taken apart: a list that may only
/// shrink.
const UNFINISHED: &[&str] = &[];

/// A file: its module's path, and what its names stand for.
struct File<'a> {
    source: &'a Source,
    module: Vec<String>,
    /// By name, what the file's own `use` lines bring in.
    names: BTreeMap<String, Vec<String>>,
    /// The paths that it uses, but for what it only names for others.
    uses: Vec<Vec<String>>,
}

/// Finds circles and arrows that point up.
pub fn check(sources: &[Source], found: &mut Vec<String>) {
    let files: Vec<File> = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !source.only_tests)
        .filter(|source| !["src/lib.rs", "src/main.rs"].contains(&source.path.as_str()))
        .map(file)
        .collect();
    let by_module: BTreeMap<&[String], usize> = (0..)
        .zip(&files)
        .map(|(at, file)| (file.module.as_slice(), at))
        .collect();
    let mut arrows = vec![BTreeSet::new(); files.len()];
    for (from, file) in files.iter().enumerate() {
        for path in &file.uses {
            arrows[from].extend(target(path, &files, &by_module, 0).filter(|to| *to != from));
        }
    }
    for (from, tos) in arrows.iter().enumerate() {
        for to in tos {
            let (from, to) = (&files[from].source, &files[*to].source);
            match (room(from), room(to)) {
                (Some(low), Some(high)) if low < high => found.push(format!(
                    "{} uses {}, and {} is below {}: move what both need into the lower one",
                    from.path, to.path, ROOMS[low], ROOMS[high]
                )),
                (Some(_), Some(_)) => {}
                _ => found.push(format!(
                    "{} or {} is in no room: give it a place in tests/tidy/circles.rs",
                    from.path, to.path
                )),
            }
        }
    }
    circles(&files, &arrows, found);
}

fn circles(files: &[File], arrows: &[BTreeSet<usize>], found: &mut Vec<String>) {
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(|at| reach(at, arrows)).collect();
    let mut seen = BTreeSet::new();
    for from in 0..files.len() {
        let circle: Vec<usize> = reached[from]
            .iter()
            .copied()
            .filter(|to| reached[*to].contains(&from))
            .collect();
        if circle.is_empty() || !seen.insert(circle.clone()) {
            continue;
        }
        let names: Vec<&str> = circle
            .iter()
            .map(|at| files[*at].source.path.as_str())
            .collect();
        let rooms: BTreeSet<_> = circle.iter().map(|at| room(files[*at].source)).collect();
        let is_known = UNFINISHED
            .iter()
            .any(|place| files[circle[0]].source.is_in(place));
        if circle.len() > CIRCLE_FILES_MAX && !is_known {
            found.push(format!("{} files form one circle: {names:?}", circle.len()));
        }
        if rooms.len() > 1 {
            found.push(format!("a circle goes through several rooms: {names:?}"));
        }
    }
}

/// Every file that an arrow or a chain of them leads to.
fn reach(from: usize, arrows: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<usize> = arrows[from].iter().copied().collect();
    while let Some(at) = next.pop() {
        if reached.insert(at) {
            next.extend(&arrows[at]);
        }
    }
    reached
}

/// The room of a file; `src/dev` belongs to the room of the command line.
fn room(source: &Source) -> Option<usize> {
    if source.is_in("src/dev") {
        return ROOMS.iter().position(|place| *place == "src/cli");
    }
    (0..ROOMS.len())
        .filter(|at| source.is_in(ROOMS[*at]))
        .max_by_key(|at| ROOMS[*at].len())
}

/// The file that defines what a path names; through the names of facades.
fn target(
    path: &[String],
    files: &[File],
    by_module: &BTreeMap<&[String], usize>,
    hops: usize,
) -> Option<usize> {
    let long = (0..=path.len())
        .rev()
        .find(|n| by_module.contains_key(&path[..*n]))?;
    let at = by_module[&path[..long]];
    let named = path.get(long).and_then(|name| files[at].names.get(name));
    match named {
        Some(named) if hops < 8 && named != path => {
            let whole: Vec<String> = named.iter().chain(&path[long + 1..]).cloned().collect();
            target(&whole, files, by_module, hops + 1)
        }
        Some(_) | None => Some(at),
    }
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(Into::into).collect()
}

fn file(source: &Source) -> File<'_> {
    let module = module_of(&source.path);
    let code = &source.product;
    let mut file = File {
        source,
        module,
        names: BTreeMap::new(),
        uses: Vec::new(),
    };
    let mut kids: Vec<&str> = Vec::new();
    let mut before = "";
    for (at, word) in words(code) {
        if before == "mod" && code[at + word.len()..].starts_with(';') {
            kids.push(word);
        }
        before = word;
    }
    let mut rest = code.clone();
    for (at, _) in words(code).filter(|(_, word)| *word == "use") {
        let end = code[at..].find(';').map_or(code.len(), |end| at + end);
        let tree: String = code[at + 3..end]
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let line = code[..at].rfind('\n').map_or(0, |line| line + 1);
        let is_named_for_others = code[line..at].trim_start().starts_with("pub");
        for item in steps(&tree, usize::MAX) {
            let Some(path) = absolute(&item, &file.module, &kids) else {
                continue;
            };
            let name = path.last().cloned().unwrap_or_default();
            file.names.insert(name, path.clone());
            if !is_named_for_others {
                file.uses.push(path);
            }
        }
        // No path but those of the code itself is left.
        rest.replace_range(at..end, &" ".repeat(end - at));
    }
    let first = |word: &str| ["crate", "self", "super"].contains(&word) || kids.contains(&word);
    for (at, word) in words(&rest).filter(|(_, word)| first(word)) {
        let begins = !rest[..at].ends_with("::") && !rest[..at].ends_with('.');
        let is_path = rest[at + word.len()..].starts_with("::");
        let is_scope = rest[..at].ends_with("pub(in ");
        if begins && is_path && !is_scope {
            let end = rest[at..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = &rest[at..end.map_or(rest.len(), |end| at + end)];
            file.uses
                .extend(absolute(path.trim_end_matches(':'), &file.module, &kids));
        }
    }
    file
}

/// A path from the crate on; none where it leads elsewhere.
fn absolute(path: &str, module: &[String], kids: &[&str]) -> Option<Vec<String>> {
    let mut parts: Vec<String> = path.split("::").map(Into::into).collect();
    let mut whole = module.to_vec();
    match parts[0].as_str() {
        "crate" => whole.clear(),
        "self" => {}
        "super" => {
            while parts.len() > 1 && parts[1] == "super" {
                whole.pop();
                parts.remove(0);
            }
            whole.pop();
        }
        kid if kids.contains(&kid) => parts.insert(0, "self".into()),
        _ => return None,
    }
    whole.extend(parts.into_iter().skip(1).filter(|part| part != "self"));
    Some(whole)
}

#[test]
fn a_circle_and_an_arrow_up_are_found_through_facades_and_a_name_for_others_is_no_arrow() {
    let of = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, code)| Source::new(path, code, false))
            .collect();
        let mut found = Vec::new();
        check(&sources, &mut found);
        found
    };
    let facade = (
        "src/engine/mod.rs",
        "mod writer;\nmod keys;\npub use writer::Writer;",
    );
    let writer = (
        "src/engine/writer/mod.rs",
        "use super::keys::Key;\npub struct Writer;",
    );
    assert_eq!(
        of(&[facade, writer, ("src/engine/keys/mod.rs", "")]),
        [""; 0]
    );
    for up in [
        "use crate::engine::Writer;",
        "fn f(a: crate::engine::Writer) {}",
    ] {
        let found = of(&[facade, writer, ("src/engine/keys/mod.rs", up)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("src/engine/keys is below src/engine/writer"));
        assert!(found[1].contains("several rooms"));
    }
    let ring = |files: usize| {
        let paths: Vec<_> = (0..files).map(|n| format!("src/bus/f{n}.rs")).collect();
        let codes: Vec<_> = (0..files)
            .map(|n| format!("use super::f{}::A;", (n + 1) % files))
            .collect();
        let files = paths
            .iter()
            .map(String::as_str)
            .zip(codes.iter().map(String::as_str));
        of(&files.collect::<Vec<_>>())
    };
    assert_eq!(ring(CIRCLE_FILES_MAX), [""; 0]);
    assert!(ring(CIRCLE_FILES_MAX + 1)[0].contains("5 files form one circle"));
    let lost = of(&[
        ("src/engine/new.rs", "use crate::bus::A;"),
        ("src/bus/mod.rs", ""),
    ]);
    assert!(lost[0].contains("is in no room"), "{lost:?}");
}
