//! Every row of the attack catalogue on one-time use and attempts, and every defect of other
//! systems that it cites, is named by a test: in its name (`c13_…`) or in the docs right above it.

use std::collections::BTreeSet;

use crate::source::Source;

/// The groups of rows, with the last number of each.
const GROUPS: &[(&str, u8)] = &[
    // What we were attacked with: `docs/explanation/attacks.md` has the rows.
    ("A", 25),
    ("C", 20),
    ("E", 12),
    ("B", 9),
    ("X", 10),
    ("TM", 10),
    ("V", 14),
    ("S", 10),
    ("R", 12),
    ("RS", 12),
    ("P", 12),
    ("N", 20),
    ("J", 8),
];
const SEVERAL_NODES: &str = "several nodes: the log is this machine's, the stream a copy";
/// Numbers that the catalogue does not give out.
const UNUSED: &[&str] = &["C-04", "X-06", "TM-02", "V-12", "S-07"];
/// Rows that the contract made void.
const VOID: &[&str] = &["TM-06", "TM-08", "V-11", "RS-03", "RS-10", "RS-11"];
/// Rows that are not implemented yet, and where they will be.
const LATER: &[(&str, &str)] = &[
    ("N-12", SEVERAL_NODES),
    ("N-13", SEVERAL_NODES),
    ("N-15", SEVERAL_NODES),
    ("N-16", SEVERAL_NODES),
    ("N-20", SEVERAL_NODES),
    ("TM-09", "several nodes: not designed yet, no issue"),
];
/// Defects of comparable systems, from which our rows come.
const CITED: &[&str] = &[
    "AIL CVE-2026-56450",
    "Appwrite #11692",
    "Authelia CVE-2025-24806",
    "Authelia CVE-2026-47203",
    "AuthQuake",
    "Gitea CVE-2026-20779",
    "Infisical #6112",
    "Keycloak #26106",
    "Nextcloud CVE-2021-41177",
    "NATS CVE-2026-33246",
    "OpenBao CVE-2025-55003",
    "OwnPay #145",
    "RUSTSEC-2022-0018",
    "Vault CVE-2025-6015",
    "Vaultwarden CVE-2026-27801",
    "Zitadel #6452",
    "Zitadel CVE-2023-47111",
    "Zitadel CVE-2025-64102",
    "artifact-keeper #1822",
    "devise CVE-2015-7225",
    "devise CVE-2021-43177",
    "devise CVE-2024-8796",
    "librefang #3560",
    "privacyidea-keycloak #71",
    "twofactor_totp #214",
];

/// Every row that a test must name.
fn wanted() -> BTreeSet<String> {
    let rows = GROUPS
        .iter()
        .flat_map(|(group, last)| (1..=*last).map(move |number| format!("{group}-{number:02}")));
    rows.filter(|row| {
        let row = row.as_str();
        let is_later = LATER.iter().any(|(later, _)| *later == row);
        !(UNUSED.contains(&row) || VOID.contains(&row) || is_later)
    })
    .collect()
}

/// Finds rows that no test names, and listed absences that a test names.
pub fn check(sources: &[Source], found: &mut Vec<String>) {
    let tests: Vec<String> = sources.iter().flat_map(|s| tests(&s.text)).collect();
    let named: BTreeSet<String> = tests.iter().flat_map(|test| rows(test)).collect();
    for row in wanted().difference(&named) {
        found.push(format!(
            "{row} of the attack catalogue is in no test's name or docs: write the test, or name it"
        ));
    }
    let absent = LATER
        .iter()
        .map(|(row, _)| *row)
        .chain(VOID.iter().copied());
    for row in absent.filter(|row| named.contains(*row)) {
        found.push(format!(
            "{row} has a test now: take it off the lists of tests/tidy/catalogue.rs"
        ));
    }
    for cited in CITED {
        if !tests.iter().any(|test| test.contains(cited)) {
            found.push(format!(
                "{cited} is in no test's docs: name it where it is tested"
            ));
        }
    }
}

/// The docs and the name of each test of a file, as one text each, on one line.
fn tests(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut above, mut is_test) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(docs) = line.strip_prefix("///") {
            above.push_str(docs);
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let Some(name) = name.filter(|_| is_test) {
                let name = name.split('(').next().unwrap_or_default();
                found.push(format!("{above} {name}"));
            }
            (above, is_test) = (String::new(), false);
        }
    }
    found
}

/// The rows that a test names: `C-13` in its docs, or `c13_` at the beginning of its name.
fn rows(test: &str) -> BTreeSet<String> {
    let is_row = |row: &str| {
        let (group, number) = row.split_once('-')?;
        let known = GROUPS.iter().find(|(known, _)| *known == group)?;
        let number = number.parse().ok().filter(|_| number.len() == 2)?;
        (1..=known.1).contains(&number).then(|| row.to_owned())
    };
    let words = test.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let in_docs = words.filter_map(is_row);
    let name = test
        .rsplit(' ')
        .next()
        .and_then(|name| name.split('_').next());
    let in_name = name.and_then(|name| {
        let digits = name.find(|c: char| c.is_ascii_digit())?;
        let (group, number) = name.split_at(digits);
        is_row(&format!("{}-{number}", group.to_ascii_uppercase()))
    });
    in_docs.chain(in_name).collect()
}

#[test]
fn a_row_is_named_in_the_docs_or_the_name_of_a_test_and_nowhere_else() {
    let text = "/// C-01, E-12:\n/// X-05 too.\n#[test]\nfn a() {}\n/// C-02.\nfn b() {}\n\
        // C-03\n#[test]\nfn c() {}\n    /// S-99 C-5\n    #[tokio::test(flavor = \"x\")]\n    \
        async fn tm10_d() {}\n";
    let named: Vec<String> = tests(text).iter().flat_map(|test| rows(test)).collect();
    assert_eq!(named, ["C-01", "E-12", "X-05", "TM-10"]);
}

#[test]
fn a_row_and_a_citation_that_no_test_names_are_found() {
    let all: Vec<String> = wanted().into_iter().collect();
    let complete = |without: &str| {
        let named = [all.join(" "), CITED.join(" ")].join(" ");
        let text = format!("/// {}\n#[test]\nfn t() {{}}\n", named.replace(without, ""));
        let mut found = Vec::new();
        check(&[Source::new("src/x.rs", &text, true)], &mut found);
        found
    };
    assert_eq!(complete("nothing"), Vec::<String>::new());
    for lost in ["C-13", "R-12", "Gitea CVE-2026-20779"] {
        let found = complete(lost);
        assert!(found.len() == 1 && found[0].starts_with(lost), "{found:?}");
    }
    let mut found = Vec::new();
    let text = "/// V-11\n#[test]\nfn t() {}\n";
    check(&[Source::new("src/x.rs", text, true)], &mut found);
    assert!(found.iter().any(|line| line.starts_with("V-11 has a test")));
}
