//! The arrows of docs/explanation/architecture.md: which room may use which.

use crate::source::{Source, words};

/// A room, and which of our code it may name.
struct Room {
    /// Folder of its sources.
    place: &'static str,
    /// Our other crates that it may use.
    crates: &'static [&'static str],
    /// Rooms of its own crate that it may use; `*` for all.
    rooms: &'static [&'static str],
}

/// The page that describes the rooms.
const PAGE: &str = "docs/explanation/architecture.md";

const OURS: &[&str] = &[
    "countersign",
    "countersign_schemas",
    "countersign_projections",
];
const SCHEMAS: &str = "countersign_schemas";

const ROOMS: &[Room] = &[
    Room {
        place: "schemas/src",
        crates: &[],
        rooms: &["*"],
    },
    Room {
        place: "projections/src",
        crates: &[SCHEMAS],
        rooms: &["*"],
    },
    // The pure parts of `crypto`: no key, no randomness, no slow hash.
    Room {
        place: "src/account",
        crates: &[SCHEMAS],
        rooms: &["account", "crypto::otp", "crypto::backup_code"],
    },
    // A signed note is a text and a key, and so is the key of a derived file: they read no file and
    // know no log. A crash point is empty outside debug builds; it marks the moments at which the
    // kill harness ends a process. `durable` writes whole files.
    Room {
        place: "src/log",
        crates: &[SCHEMAS],
        rooms: &[
            "log",
            "crypto::note",
            "crypto::derived",
            "crash_point",
            "durable",
        ],
    },
    Room {
        place: "src/crypto",
        crates: &[SCHEMAS],
        rooms: &["crypto", "crash_point", "durable"],
    },
    Room {
        place: "src/engine",
        crates: OURS,
        rooms: &[
            "account",
            "crypto",
            "log",
            "engine",
            "crash_point",
            "durable",
            "fair_queue",
        ],
    },
    Room {
        place: "src/bus",
        crates: OURS,
        rooms: &["account", "crypto", "log", "engine", "bus", "fair_queue"],
    },
    Room {
        place: "src/http",
        crates: &["countersign"],
        rooms: &["engine", "bus", "http"],
    },
];

/// Names that only the rooms that use NATS may have.
const NATS: &[&str] = &["async_nats"];
/// Rooms that must work without a broker, so no code in them waits for one.
const WITHOUT_NATS: &[&str] = &[
    "src/log",
    "src/account",
    "src/crypto",
    "src/engine/writer/mod.rs",
    "src/engine/intake/evidence.rs",
    "schemas/src",
    "projections/src",
];

/// Finds names that a room may not use of another.
pub fn check(source: &Source, found: &mut Vec<String>) {
    for room in ROOMS.iter().filter(|room| source.is_in(room.place)) {
        crates(room, source, found);
        rooms(room, source, found);
    }
    for place in WITHOUT_NATS.iter().filter(|place| source.is_in(place)) {
        for (at, word) in words(&source.product) {
            let waits = word == "await" && source.product[..at].ends_with('.');
            if NATS.contains(&word) || waits {
                let what = format!(
                    "{place} knows nothing of NATS and waits for nothing: hand a value over in a queue"
                );
                found.push(source.at(at, &what));
            }
        }
    }
    views(source, found);
}

fn crates(room: &Room, source: &Source, found: &mut Vec<String>) {
    for (at, word) in words(&source.product) {
        let begins_a_path = source.product[at + word.len()..].starts_with("::");
        if begins_a_path && OURS.contains(&word) && !room.crates.contains(&word) {
            let what = format!(
                "{} does not use {word}: see the arrows in {PAGE}",
                room.place
            );
            found.push(source.at(at, &what));
        }
    }
}

fn rooms(room: &Room, source: &Source, found: &mut Vec<String>) {
    if room.rooms == ["*"] {
        return;
    }
    let allowed = |path: &str| {
        let under = |own: &&str| path == *own || path.starts_with(&format!("{own}::"));
        room.rooms.iter().any(under)
    };
    for (at, path) in crate_paths(&source.product) {
        if !allowed(&path) {
            let what = format!(
                "{} does not use crate::{path}: see the arrows in {PAGE}",
                room.place
            );
            found.push(source.at(at, &what));
        }
    }
    // In the room's own mod.rs `super` is the crate; elsewhere two of them may leave the room.
    let door = format!("{}/mod.rs", room.place);
    let leaves = if source.path == door {
        "super::"
    } else {
        "super::super::"
    };
    for (at, _) in source.product.match_indices(leaves) {
        found.push(source.at(at, "a path that can leave its room: begin it with crate::"));
    }
}

/// Every path after `crate::`, at most two steps of it, groups opened.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let bare = at == 0
            || !code.as_bytes()[at - 1].is_ascii_alphanumeric() && code.as_bytes()[at - 1] != b'$';
        if bare {
            for path in steps(&code[at + "crate::".len()..], 2) {
                paths.push((at, path));
            }
        }
    }
    paths
}

/// The paths of a tree of names, at most so many steps of each, groups opened.
pub fn steps(code: &str, left: usize) -> Vec<String> {
    if let Some(group) = code.strip_prefix('{') {
        let group = &group[..crate::source::closing(code, 0).saturating_sub(2)];
        return split_outside_brackets(group)
            .into_iter()
            .flat_map(|item| steps(item.trim(), left))
            .collect();
    }
    let end = code
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    if name.is_empty() {
        return Vec::new();
    }
    match rest.strip_prefix("::").filter(|_| left > 1) {
        Some(rest) => {
            let under = steps(rest, left - 1);
            if under.is_empty() {
                return vec![name.into()];
            }
            under
                .into_iter()
                .map(|step| format!("{name}::{step}"))
                .collect()
        }
        None => vec![name.into()],
    }
}

fn split_outside_brackets(group: &str) -> Vec<&str> {
    let (mut items, mut depth, mut begin) = (Vec::new(), 0_i32, 0);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                items.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    items.push(&group[begin..]);
    items
        .into_iter()
        .filter(|item| !item.trim().is_empty())
        .collect()
}

/// No view is read while deciding: the writer only passes committed events to the login view.
fn views(source: &Source, found: &mut Vec<String>) {
    let deciding = [
        "src/account",
        "src/engine/intake/evidence.rs",
        "src/engine/writer/mod.rs",
        "src/engine/writer/batch.rs",
        "src/engine/writer/facts.rs",
    ];
    if !deciding.iter().any(|place| source.is_in(place)) {
        return;
    }
    for (at, word) in words(&source.product) {
        let is_view = word == "views" || word == "Views" || word == "login_status";
        let rest: String = source.product[at..]
            .chars()
            .filter(|c| !c.is_whitespace())
            .take(60)
            .collect();
        let allowed = [
            "views.login_status().apply_committed(",
            "login_status().apply_committed(",
        ];
        if is_view && !allowed.iter().any(|call| rest.starts_with(call)) {
            found.push(source.at(
                at,
                "no view is read while deciding: decide from the account",
            ));
        }
    }
}
