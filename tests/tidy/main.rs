//! The project's rules as a test over the sources: arrows between rooms, absences and sizes.
//!
//! Each finding names file, line and cure. `samples.rs` has a violation of every rule, so a rule
//! cannot stop working unnoticed.
#![allow(clippy::unwrap_used)]

mod absences;
mod arrows;
mod catalogue;
mod circles;
mod constant_time;
mod derived;
mod docs;
mod events;
mod holes;
mod rows;
mod samples;
mod secrets;
mod sizes;
mod source;

use source::Source;

/// Every rule, over one file.
fn findings(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    arrows::check(source, &mut found);
    absences::check(source, &mut found);
    events::check(source, &mut found);
    secrets::check(source, &mut found);
    sizes::check(source, &mut found);
    constant_time::check(source, &mut found);
    found
}

#[test]
fn the_house_is_tidy() {
    let sources = source::all();
    assert!(
        sources.len() > 50,
        "only {} sources were found",
        sources.len()
    );
    let mut found: Vec<String> = sources.iter().flat_map(findings).collect();
    catalogue::check(&sources, &mut found);
    circles::check(&sources, &mut found);
    derived::check(&sources, &mut found);
    sizes::check_list(&sources, &mut found);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
