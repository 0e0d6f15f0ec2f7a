//! The tables of commands and queries name each endpoint of the service, with what it does and who
//! may ask it.

use std::collections::BTreeMap;

use countersign::bus::{Endpoint, all_endpoints};

use super::tables::{Table, page, quoted, tables};

/// An endpoint's name on a page: the last token of its subject, with the id that follows it.
fn name_of(endpoint: &Endpoint) -> String {
    let subject = endpoint.subject();
    let name = countersign_schemas::command::Command::token_of(endpoint.name);
    match (endpoint.name, subject.ends_with(".*")) {
        ("schema", _) => format!("{name}.<name>"),
        (_, true) => format!("{name}.<account_id>"),
        (_, false) => name.to_owned(),
    }
}

/// By kind and name: the summary, and the roles.
fn offered() -> BTreeMap<(&'static str, String), (&'static str, String)> {
    let offered = all_endpoints().into_iter().map(|endpoint| {
        let mut roles: Vec<_> = match endpoint.roles() {
            roles if roles.len() == 4 => vec!["all"],
            roles => roles.iter().map(|role| role.as_str()).collect(),
        };
        roles.sort_unstable();
        let name = name_of(&endpoint);
        (
            (endpoint.kind(), name),
            (endpoint.summary, roles.join(", ")),
        )
    });
    offered.collect()
}

fn table_of(page: &str, column: &str) -> Table {
    let mut found = tables(page).into_iter().filter(|table| table.has(column));
    let table = found
        .next()
        .unwrap_or_else(|| panic!("no table has {column}"));
    assert!(found.next().is_none(), "one table has {column}");
    table
}

#[test]
fn the_page_of_queries_has_the_row_of_each_query_and_no_other() {
    let column = "`countersign.v1.query.`";
    let table = table_of(&page("reference/queries.md"), column);
    let mut shown = BTreeMap::new();
    for row in &table.rows {
        let name = quoted(table.cell(row, column).unwrap())[0].to_owned();
        let mut roles: Vec<_> = table.cell(row, "roles").unwrap().split(", ").collect();
        roles.sort_unstable();
        let returns = table.cell(row, "returns").unwrap().to_owned();
        assert!(shown.insert(name, (returns, roles.join(", "))).is_none());
    }
    let offered = offered()
        .into_iter()
        .filter(|((kind, _), _)| *kind == "query");
    let expected: BTreeMap<_, _> = offered
        .map(|((_, name), (summary, roles))| (name, (summary.to_owned(), roles)))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn the_page_of_commands_has_the_row_of_each_command_and_request_and_no_other() {
    let text = page("reference/commands.md");
    for (kind, column) in [
        ("command", "`countersign.v1.command.`"),
        ("support", "`countersign.v1.support.<user>.`"),
        ("admin", "`countersign.v1.admin.<user>.`"),
    ] {
        let table = table_of(&text, column);
        let mut shown = BTreeMap::new();
        for row in &table.rows {
            let names = quoted(table.cell(row, column).unwrap());
            let does = table.cell(row, "does").unwrap();
            for name in &names {
                // A row of several describes them together.
                let does = (names.len() == 1).then(|| does.to_owned());
                assert!(shown.insert(name.to_string(), does).is_none(), "{name}");
            }
        }
        let offered = offered();
        let of_kind = offered.iter().filter(|((of, _), _)| *of == kind);
        let expected: BTreeMap<_, _> = of_kind
            .map(|((_, name), (summary, _))| {
                let alone = shown.get(name).is_some_and(Option::is_some);
                (name.clone(), alone.then(|| (*summary).to_owned()))
            })
            .collect();
        assert_eq!(shown, expected, "{kind}");
    }
}
