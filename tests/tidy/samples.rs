//! A violation of each rule, and code that only looks like one.

use crate::findings;
use crate::source::Source;

fn of(path: &str, code: &str) -> Vec<String> {
    findings(&Source::new(
        path,
        &format!("//! A sample.\n{code}\n"),
        false,
    ))
}

#[test]
#[allow(clippy::too_many_lines)]
fn every_rule_finds_its_violation() {
    let todo = concat!("fn f() { todo", "!() }");
    let put_off = concat!("// FIX", "ME later");
    let ignored = concat!("#[ig", "nore]\nfn f() {}");
    let panics = concat!("#[should", "_panic]\nfn f() {}");
    let waived = concat!("un", "safe fn f() {}");
    let unwrapped = concat!("fn f() { x.un", "wrap(); }");
    for (path, code, cure) in [
        (
            "schemas/src/x.rs",
            "use countersign_projections::Views;",
            "does not use",
        ),
        (
            "src/crypto/otp.rs",
            "fn matching_steps(s: &S) -> Vec<u64> { (0..3).filter(|n| s.at(*n).ct_eq(&c).into()).find(|n| n) }",
            "`find` in a comparison of secrets can end it early",
        ),
        (
            "src/crypto/password.rs",
            "fn verify(a: &A) -> bool { same(&a.hash, &b) }",
            "compared without ct_eq",
        ),
        (
            "src/crypto/x.rs",
            "fn same(a: &Code, b: &Code) -> bool { a.digits() == b.digits() }",
            "compared by an operator",
        ),
        (
            "src/crypto/otp.rs",
            "fn other() {}",
            "there is no fn matching_steps",
        ),
        (
            "projections/src/x.rs",
            "use countersign::engine::Engine;",
            "does not use",
        ),
        (
            "src/crypto/x.rs",
            "#[derive(Debug, ZeroizeOnDrop)]\nstruct Key([u8; 32]);",
            "Key would print a secret",
        ),
        (
            "src/crypto/x.rs",
            "#[derive(Clone, ZeroizeOnDrop, Serialize)]\nstruct Key { bytes: [u8; 32] }",
            "Key would store a secret",
        ),
        (
            "src/crypto/x.rs",
            "#[derive(ZeroizeOnDrop)]\nstruct Key(u8);\nimpl Serialize for Key {}",
            "Key would store a secret",
        ),
        (
            "src/account/x.rs",
            "#[derive(Debug)]\nenum Made {\n    Hash(Zeroizing<Vec<u8>>),\n}",
            "Made would print a secret",
        ),
        (
            "src/account/x.rs",
            "use crate::log::EventLog;",
            "does not use",
        ),
        (
            "src/account/x.rs",
            "use crate::crypto::password;",
            "does not use",
        ),
        (
            "src/account/x.rs",
            "use crate::{account::Account, crypto::{otp, seal}};",
            "crypto::seal",
        ),
        (
            "src/account/x.rs",
            "use countersign_projections::Views;",
            "does not use",
        ),
        (
            "src/account/mod.rs",
            "use super::log::EventLog;",
            "leave its room",
        ),
        (
            "src/account/x.rs",
            "use super::super::log::EventLog;",
            "leave its room",
        ),
        (
            "src/log/x.rs",
            "fn f(a: crate::engine::Engine) {}",
            "does not use",
        ),
        (
            "src/crypto/x.rs",
            "use crate::account::Account;",
            "does not use",
        ),
        ("src/engine/x.rs", "use crate::bus::Bus;", "does not use"),
        ("src/engine/x.rs", "use crate::dev;", "does not use"),
        ("src/bus/x.rs", "use crate::cli::Args;", "does not use"),
        (
            "src/engine/writer/mod.rs",
            "use async_nats::Client;",
            "knows nothing of NATS",
        ),
        (
            "src/log/x.rs",
            "async fn f() { g().await }",
            "waits for nothing",
        ),
        ("src/account/x.rs", "fn f(views: &u8) {}", "while deciding"),
        (
            "src/engine/intake/evidence.rs",
            "fn f() { shared.views.login_status().of(1) }",
            "while deciding",
        ),
        (
            "src/engine/writer/mod.rs",
            "fn f() { self.views.get(1) }",
            "while deciding",
        ),
        (
            "src/engine/x.rs",
            "fn f() -> Event { Event::TotpAccepted(e) }",
            "is made here",
        ),
        (
            "src/engine/x.rs",
            "fn f() { g(Event::LoginStarted(LoginStarted { a })) }",
            "is made here",
        ),
        (
            "src/engine/x.rs",
            "fn f() { e.map(Event::TotpAccepted) }",
            "is made here",
        ),
        (
            "src/engine/start/mod.rs",
            "fn f() { g(Event::PasswordSet(e)); }",
            "is made here",
        ),
        (
            "src/bus/x.rs",
            "use countersign_schemas::event::Event::*;",
            "is made here",
        ),
        (
            "src/bus/x.rs",
            "use countersign_schemas::event::Event as E;",
            "do not rename",
        ),
        (
            "src/account/x.rs",
            "#[allow(clippy::disallowed_methods)]\nfn f() {}",
            "is silenced",
        ),
        (
            "src/lib.rs",
            "#![expect(clippy::too_many_lines)]",
            "is silenced",
        ),
        (
            "src/account/x.rs",
            "#![allow(clippy::pedantic)]",
            "is silenced",
        ),
        ("src/cli/x.rs", todo, "unwritten"),
        ("tests/x.rs", put_off, "postponed"),
        ("tests/x.rs", ignored, "does not run"),
        ("tests/x.rs", panics, "expects a panic"),
        ("src/cli/x.rs", waived, "safety"),
        ("src/cli/x.rs", unwrapped, "without a reason"),
    ] {
        let found = of(path, code);
        assert!(
            found.iter().any(|what| what.contains(cure)),
            "{path}: {code}: {found:?}"
        );
        assert!(found[0].starts_with(&format!("{path}:")), "{found:?}");
    }
    let headless = findings(&Source::new("src/x.rs", "fn f() {}", false));
    assert!(headless[0].contains("begins with"), "{headless:?}");
    let endless = of("src/x.rs", &"// a\n".repeat(400));
    assert!(endless[0].contains("split the file"), "{endless:?}");
}

#[test]
fn what_only_looks_like_a_violation_is_none() {
    let unwrapped = concat!("#[cfg(test)]\nmod tests { fn f() { x.un", "wrap(); } }");
    for (path, code) in [
        (
            "src/account/x.rs",
            "use crate::account::Account;\nuse crate::crypto::{backup_code, otp};",
        ),
        (
            "src/account/x.rs",
            "fn f() -> Event { Event::TotpAccepted(e) }",
        ),
        (
            "src/log/x.rs",
            "// crate::engine is named.\nconst A: &str = \"crate::engine\";",
        ),
        ("src/log/x.rs", unwrapped),
        (
            "src/engine/x.rs",
            "fn f() { match e { Event::TotpAccepted(e) => 1, Event::LoginStarted(_) | Event::CodeReplayed(a) if b => 2 } }",
        ),
        (
            "src/engine/x.rs",
            "fn f() { if let Some(Event::TotpAccepted(e)) = last { Event::decode(1) } }",
        ),
        (
            "src/engine/x.rs",
            "fn f() { matches!(e, Event::TotpAccepted(_)); Event::ALL.len(); }",
        ),
        (
            "src/engine/writer/mod.rs",
            "fn f() { self.shared\n.views\n.login_status()\n.apply_committed(&e); }",
        ),
        ("src/bus/x.rs", "fn f() { g(Event::Connected) }"),
    ] {
        assert_eq!(of(path, code), [""; 0], "{path}: {code}");
    }
}
