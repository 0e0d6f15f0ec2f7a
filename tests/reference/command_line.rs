//! `docs/reference/command-line.md` has every command of the program with its arguments and flags,
//! and the program accepts every command line that a page shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use countersign::cli::Cli;

use super::tables::{page, quoted, tables};

const PAGE: &str = "reference/command-line.md";
/// This page has labels of keys that begin with the same word.
const NO_COMMANDS: &str = "stored-format.md";
/// The characters that end a command line in a shell.
const ENDS: &[&str] = &["|", "||", "&&", ";", ">", "2>", "<<'END'", "#", "\\"];

fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Every command without subcommands, by its words.
fn leaves(command: &Command, words: &[&str], found: &mut BTreeMap<String, Command>) {
    let verbs: Vec<_> = command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
        .collect();
    if !words.is_empty() && (verbs.is_empty() || !command.is_subcommand_required_set()) {
        found.insert(words.join(" "), command.clone());
    }
    for verb in verbs {
        leaves(verb, &[words, &[verb.get_name()]].concat(), found);
    }
}

/// The flags that every command has; they have their own table.
fn global() -> BTreeSet<String> {
    let globals = Cli::command();
    globals
        .get_arguments()
        .filter(|a| a.is_global_set())
        .filter_map(flag)
        .collect()
}

fn flag(argument: &Arg) -> Option<String> {
    let is_own = !matches!(argument.get_id().as_str(), "help" | "version");
    let long = argument
        .get_long()
        .filter(|_| is_own && !argument.is_hide_set())?;
    Some(format!("--{long}"))
}

/// The arguments of a command: its flags, its positional arguments, and the words of a choice.
fn arguments(command: &Command) -> BTreeSet<String> {
    let globals = global();
    let mut found: BTreeSet<String> = command.get_arguments().filter_map(flag).collect();
    found.retain(|flag| !globals.contains(flag));
    for argument in command.get_positionals() {
        let choices = argument.get_possible_values();
        let names = argument.get_value_names().unwrap_or_default();
        if choices.is_empty() {
            found.extend(names.iter().map(|name| name.to_string()));
        } else {
            found.extend(choices.iter().map(|choice| choice.get_name().to_owned()));
        }
    }
    found
}

/// The arguments in a cell: flags, and names in capitals or words by themselves.
fn said(cell: &str, command: &Command) -> BTreeSet<String> {
    let short = |word: &str| {
        let mut arguments = command.get_arguments();
        let of =
            arguments.find(|a| a.get_short().map(|c| format!("-{c}")).as_deref() == Some(word));
        of.and_then(flag).unwrap_or_else(|| word.to_owned())
    };
    let mut found = BTreeSet::new();
    for quoted in quoted(cell) {
        let mut words = quoted.split(' ');
        while let Some(word) = words.next() {
            if word.starts_with('-') {
                found.insert(short(word));
                words = match words.clone().next() {
                    Some(next) if !next.starts_with('-') => {
                        words.next();
                        words
                    }
                    _ => words,
                };
            } else {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn the_page_has_every_command_with_its_arguments() {
    let mut left = BTreeMap::new();
    leaves(&command(), &[], &mut left);
    let page = page(PAGE);
    let commands = page.split("\n## Run\n").nth(1).unwrap();
    for table in tables(commands).iter().filter(|table| table.has("does")) {
        for row in &table.rows {
            let name = quoted(&row[0])[0];
            let known = left.remove(name);
            let known = known.unwrap_or_else(|| panic!("{name} is no command, or has two rows"));
            let mut said = said(&row[1], &known);
            let arguments = arguments(&known);
            // Words that a flag takes are quoted beside it.
            said.retain(|word| {
                word.starts_with('-')
                    || arguments.contains(word)
                    || word.chars().all(|c| c.is_uppercase() || c == '_')
            });
            assert_eq!(said, arguments, "{name}");
        }
    }
    assert!(left.is_empty(), "{:?}", left.keys());
}

#[test]
fn the_page_has_every_flag_of_all_commands_with_its_variable() {
    let mut left = global();
    let program = Cli::command();
    let page = page(PAGE);
    let tables = tables(&page);
    let table = tables
        .iter()
        .find(|table| table.heading == "Connection")
        .unwrap();
    for row in &table.rows {
        let mut variables = quoted(table.cell(row, "variable").unwrap()).into_iter();
        for named in quoted(table.cell(row, "flag").unwrap()) {
            let flag = named.split(' ').next().unwrap();
            assert!(left.remove(flag), "{flag}");
            let is_it = |a: &&Arg| a.get_long() == flag.strip_prefix("--");
            let argument = program.get_arguments().find(is_it).unwrap();
            let variable = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(variables.next(), variable, "{flag}");
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

/// What is wrong with a command line of a page, given the words after `countersign`.
fn wrong(line: &str) -> Option<String> {
    let mut command = command();
    let globals = global();
    let words = line
        .split_whitespace()
        .take_while(|word| !ENDS.contains(word));
    for word in words {
        let word = word.trim_end_matches([')', '"', ';', ',', '.']);
        let verb = command.find_subcommand(word).cloned();
        if let Some(verb) = verb {
            command = verb;
        } else if let Some(long) = word.strip_prefix("--") {
            let long = long.split('=').next().unwrap_or(long);
            let is_known = |a: &Arg| a.get_long() == Some(long);
            let known =
                command.get_arguments().any(is_known) || globals.contains(&format!("--{long}"));
            if !known && !matches!(long, "help" | "version") {
                return Some(format!("`countersign {line}`: no --{long}"));
            }
        } else if command.is_subcommand_required_set() && !word.starts_with(['-', '<']) {
            return Some(format!("`countersign {line}`: no {word}"));
        }
    }
    None
}

/// The command lines of a page, from its blocks and from texts in backticks.
fn lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let text = text.replace("\\\n", " ");
    for (nth, block) in text.split("```").enumerate() {
        let codes: Vec<&str> = match nth % 2 {
            1 => block.lines().skip(1).collect(),
            _ => quoted(block),
        };
        for code in codes {
            let starts = code.match_indices("countersign ").filter(|(at, _)| {
                let before = code[..*at].chars().next_back();
                before.is_none_or(|c| c == ' ' || c == '(')
            });
            found.extend(starts.map(|(at, start)| {
                code[at + start.len()..]
                    .split('\n')
                    .next()
                    .unwrap_or_default()
                    .into()
            }));
        }
    }
    found
}

#[test]
fn the_program_accepts_every_command_line_that_a_page_shows() {
    fn below(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let root = Path::new(super::ROOT);
    let mut files = vec![
        root.join("README.md"),
        root.join("docker/README.md"),
        root.join("docker/alerts.yaml"),
    ];
    below(&root.join("docs"), &mut files);
    files.retain(|file| !file.ends_with(NO_COMMANDS));
    let (mut count, mut found) = (0, Vec::new());
    for file in files {
        let lines = lines(&fs::read_to_string(&file).unwrap());
        count += lines.len();
        found.extend(
            lines
                .iter()
                .filter_map(|line| Some(format!("{}: {}", file.display(), wrong(line)?))),
        );
    }
    assert!(count > 100, "only {count} command lines were found");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_command_line_that_the_program_does_not_accept_is_found() {
    for line in [
        "log stats",
        "audit verify --data DIR --key K",
        "--version",
        "dev --once",
        "<noun> <verb>",
        "login start ada | tee x",
        "health --http=x",
    ] {
        assert_eq!(wrong(line), None, "{line}");
    }
    for line in [
        "log statz",
        "audit verify --date DIR",
        "health ada --once",
        "logs stats",
    ] {
        assert!(wrong(line).is_some(), "{line}");
    }
    let text = "`countersign a b` and countersign c\n```sh\n(X=1 countersign d \\\n --e)\n```\nmy-countersign f `x/countersign g`";
    assert_eq!(lines(text), ["a b", "d   --e)"]);
}
