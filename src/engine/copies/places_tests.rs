//! One file under several names is one file.

use std::os::unix::fs::symlink;

use super::*;

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder };
        fs::create_dir_all(site.at("data/log")).unwrap();
        fs::create_dir_all(site.at("keys/tombstones")).unwrap();
        for file in [
            "data/log/00000001.redb",
            "data/keys.redb",
            "keys/keyring.toml",
        ] {
            fs::write(site.at(file), b"ours").unwrap();
        }
        site
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn ours(&self) -> Ours {
        Ours::of(&self.at("data"), Some(&self.at("keys/keyring.toml"))).unwrap()
    }

    fn refuses(&self, target: &str) -> String {
        let refused = self.ours().refuse(&self.at(target), Part::Log);
        refused.expect_err(target).to_string()
    }

    /// Gives a folder a manifest, as a folder of earlier backups has.
    fn claimed(&self, folder: &str) -> PathBuf {
        let folder = self.at(folder);
        fs::create_dir_all(folder.join("log")).unwrap();
        fs::write(folder.join(MANIFEST), b"{}").unwrap();
        folder
    }
}

#[test]
fn the_data_folder_is_no_target_under_any_name() {
    let site = Site::new();
    symlink(site.at("data"), site.at("link")).unwrap();
    symlink(site.at("link"), site.at("link-to-link")).unwrap();
    fs::create_dir(site.at("beside")).unwrap();
    for target in [
        "data",
        "data/",
        "data/.",
        "data/../data",
        "beside/../data/log",
        "data/new/deeper",
        "link",
        "link/new",
        "link-to-link/log",
        "keys/tombstones/new",
    ] {
        let why = site.refuses(target);
        assert!(
            why.contains("name a folder outside of it"),
            "{target}: {why}"
        );
    }
    // It cannot be resolved until `missing` is made.
    site.refuses("missing/../data");
    symlink(site.at("nowhere"), site.at("dangling")).unwrap();
    site.refuses("dangling");
    site.ours().refuse(&site.at("beside"), Part::Log).unwrap();
    site.ours()
        .refuse(&site.at("new/deeper"), Part::Log)
        .unwrap();
}

#[test]
fn no_copy_goes_beside_a_keyring_or_into_another_installation_under_any_name() {
    let site = Site::new();
    for of_keyring in ["keys", "elsewhere/keys"] {
        fs::create_dir_all(site.at(of_keyring)).unwrap();
    }
    symlink(site.at("keys"), site.at("alias")).unwrap();
    // The keyring is named, under any file name.
    for target in ["keys/backup", "keys/new/deeper", "alias/backup"] {
        assert!(site.refuses(target).contains("outside of it"), "{target}");
    }
    // The keyring is not named, or belongs to another installation.
    let unnamed = Ours::of(&site.at("data"), None).unwrap();
    for mark in ["keyring.toml", "checkpoint-history"] {
        fs::write(site.at("elsewhere/keys").join(mark), b"").unwrap();
        for target in [
            "elsewhere/keys/backup",
            "elsewhere/keys/new/deeper",
            "elsewhere/keys",
        ] {
            for ours in [&site.ours(), &unnamed] {
                let refused = ours.refuse(&site.at(target), Part::Keys);
                let beside = matches!(refused, Err(PlaceError::BesideKeyring(..)));
                assert!(beside, "{target}");
            }
        }
        fs::remove_file(site.at("elsewhere/keys").join(mark)).unwrap();
        unnamed
            .refuse(&site.at("elsewhere/keys/backup"), Part::Log)
            .unwrap();
    }
    // The data folder, or a copy, of another installation.
    for mark in ["index.redb", "keys.redb", "00000001.redb"] {
        fs::write(site.at("elsewhere").join(mark), b"").unwrap();
        for target in ["elsewhere/new", "elsewhere/keys", "elsewhere/keys/new"] {
            assert!(site.refuses(target).contains("outside of it"), "{target}");
        }
        fs::remove_file(site.at("elsewhere").join(mark)).unwrap();
    }
}

#[test]
fn neither_keyring_nor_data_folder_is_made_among_copies() {
    let site = Site::new();
    site.claimed("copies");
    for path in ["copies/keyring", "copies/new/keyring", "copies/log/data"] {
        assert!(refuse_in_copies(&site.at(path)).is_err(), "{path}");
    }
    refuse_in_copies(&site.at("beside/keyring")).unwrap();
}

#[test]
fn a_target_that_holds_anything_but_copies_is_refused() {
    let site = Site::new();
    assert!(site.refuses("").contains("which the service uses"));
    fs::create_dir_all(site.at("full/of/something")).unwrap();
    assert!(site.refuses("full").contains("not written by a backup"));
    assert!(site.refuses("keys").contains("outside of it"));
    let log = site.claimed("copies").join("log");
    site.ours().refuse(&site.at("copies"), Part::Log).unwrap();
    fs::write(log.join("00000001.redb"), b"a copy").unwrap();
    fs::write(log.join("00000002.redb.new"), b"half a copy").unwrap();
    site.ours().refuse(&site.at("copies"), Part::Log).unwrap();
    fs::hard_link(site.at("data/log/00000001.redb"), log.join("00000003.redb")).unwrap();
    assert!(site.refuses("copies").contains("which the service uses"));
    fs::remove_file(log.join("00000003.redb")).unwrap();
    symlink(site.at("data/log/00000001.redb"), log.join("00000003.redb")).unwrap();
    assert!(site.refuses("copies").contains("not written by a backup"));
    fs::remove_file(log.join("00000003.redb")).unwrap();
    for (name, why) in [
        ("index.redb", "index.redb"),
        ("keyring.toml", "where a keyring is"),
        ("keys.redb", "keys.redb"),
    ] {
        let path = site.at("copies").join(name);
        fs::write(&path, b"of something else").unwrap();
        assert!(site.refuses("copies").contains(why));
        fs::remove_file(path).unwrap();
    }
    // Copies without a manifest, of an unknown log.
    fs::remove_file(site.at("copies").join(MANIFEST)).unwrap();
    assert!(site.refuses("copies").contains("not written by a backup"));
}

#[test]
fn a_linked_folder_of_copies_that_is_the_log_itself_is_refused() {
    let site = Site::new();
    let copies = site.claimed("copies");
    fs::remove_dir(copies.join("log")).unwrap();
    symlink(site.at("data/log"), copies.join("log")).unwrap();
    site.refuses("copies");
}

#[test]
fn two_targets_are_apart_under_any_name() {
    let site = Site::new();
    fs::create_dir(site.at("one")).unwrap();
    symlink(site.at("one"), site.at("alias")).unwrap();
    let together =
        |one: &str, other: &str| refuse_together(&site.at(one), &site.at(other)).is_err();
    assert!(together("one", "one"));
    assert!(together("one", "alias"));
    assert!(together("alias/below", "one"));
    assert!(together("new", "new/below"));
    assert!(!together("one", "two"));
    assert!(!together("new", "newer"));
    assert!(!together("one/log", "one/keys"));
}

#[test]
fn a_keyring_in_the_data_folder_or_with_the_name_of_its_checkpoint_is_refused() {
    let site = Site::new();
    symlink(site.at("data"), site.at("link")).unwrap();
    for keyring in ["data/k", "link/k", "keys/../data/new/k", "data/log/../k"] {
        let refused = refuse_keyring(&site.at(keyring), &site.at("data"));
        assert!(
            matches!(refused, Err(KeyringPlaceError::Inside(_))),
            "{keyring}"
        );
    }
    for name in BESIDE_THE_KEYRING {
        for keyring in [format!("keys/{name}"), format!("keys/{name}.new")] {
            let refused = refuse_keyring(&site.at(&keyring), &site.at("data"));
            assert!(
                matches!(refused, Err(KeyringPlaceError::Name(_))),
                "{keyring}"
            );
        }
    }
    refuse_keyring(&site.at("keys/keyring.toml"), &site.at("data")).unwrap();
    refuse_keyring(&site.at("new/keyring"), &site.at("new-data")).unwrap();
}

#[test]
fn no_other_file_is_made_among_the_services_files() {
    let site = Site::new();
    let log = site.claimed("copies").join("log");
    fs::write(log.join("00000001.redb"), b"a copy").unwrap();
    symlink(site.at("data"), site.at("link")).unwrap();
    for file in [
        "data/x",
        "data/log/00000002.redb",
        "link/x",
        "keys/x",
        "copies/log/x",
    ] {
        assert!(refuse_among_ours(&site.at(file)).is_err(), "{file}");
    }
    refuse_among_ours(&site.at("x")).unwrap();
}

#[test]
fn what_is_not_there_yet_is_nothing_that_could_be_lost() {
    let site = Site::new();
    assert!(Ours::of(&site.at("no-data"), Some(&site.at("no-keys/keyring"))).is_ok());
    fs::write(site.at("file"), b"").unwrap();
    assert!(Ours::of(&site.at("file/data"), None).is_err());
    assert!(Ours::of(&site.at("data"), Some(&site.at("file/keys/keyring"))).is_err());
}
