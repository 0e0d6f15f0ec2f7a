//! What a verification trusts beforehand: a public key, and the checkpoints that it signed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use countersign_schemas::audit::SignedCheckpoint;

use crate::cli::fault::Fault;
use crate::crypto::note::{Checkpoint, NOTE_BYTES_MAX, NoteError, NoteKey};

/// The longest file that is read, in bytes: a note, or a document with one in it.
const FILE_BYTES_MAX: u64 = 4 * NOTE_BYTES_MAX as u64;

/// The key and checkpoints that a person names.
#[derive(Debug, clap::Args)]
pub struct KnownArgs {
    /// The public key of the log's checkpoints, as `keys list` prints it [default: the one found
    /// beside the log]
    #[arg(long, value_name = "VKEY")]
    pub key: Option<String>,
    /// File with a checkpoint kept from earlier, a signed note or what `audit checkpoint --json`
    /// printed; may be repeated
    #[arg(long, value_name = "FILE")]
    pub since: Vec<PathBuf>,
}

/// The key, its origin, and the checkpoints that it signed.
pub struct Known {
    /// The key.
    pub key: NoteKey,
    /// Whether the person named it; else it comes from the log itself.
    pub is_given: bool,
    /// Checkpoints with a valid signature.
    pub checkpoints: Vec<Checkpoint>,
}

impl Known {
    /// Takes the key that was named, else the one beside the history, and every checkpoint kept
    /// from earlier.
    ///
    /// # Errors
    /// [`Fault::Usage`] without a key, or for a file that cannot be read; [`Fault::Negative`] for
    /// a checkpoint that the key did not sign.
    pub fn new(args: &KnownArgs, found: Option<&str>) -> Result<Self, Fault> {
        let vkey = args.key.as_deref().or(found).ok_or_else(|| {
            Fault::Usage(
                "no key to verify with: use --key with the vkey that `countersign keys list` prints"
                    .into(),
            )
        })?;
        let key = NoteKey::parse(vkey).map_err(|error| {
            Fault::Usage(format!("this is not the public key of a log: {error}"))
        })?;
        let mut known = Self {
            key,
            is_given: args.key.is_some(),
            checkpoints: Vec::new(),
        };
        for path in &args.since {
            let (note, _) = read_note(path)?
                .ok_or_else(|| Fault::Usage(format!("there is no file {}", path.display())))?;
            known.believe(&note, &path.display().to_string())?;
        }
        Ok(known)
    }

    /// Checks that the key has the name of one of the log's epochs.
    ///
    /// # Errors
    /// [`Fault::Negative`] when it does not.
    pub fn names_one_of(&self, origins: &[String]) -> Result<(), Fault> {
        let name = self.key.name();
        if origins.iter().any(|origin| origin == name) {
            Ok(())
        } else {
            Err(Fault::Negative(format!(
                "the history is that of {}, but the key is of {name}, an epoch that the history does not have: it is older than this epoch, or was given up",
                origins.join(", ")
            )))
        }
    }

    /// Takes a checkpoint with a valid signature; one of an earlier epoch has the name of that
    /// epoch.
    ///
    /// # Errors
    /// [`Fault::Negative`] when the signature is not valid.
    pub fn believe(&mut self, note: &str, place: &str) -> Result<Checkpoint, Fault> {
        let checkpoint = open(&self.key, note)
            .map_err(|error| Fault::Negative(format!("the checkpoint of {place}: {error}")))?;
        self.checkpoints.push(checkpoint.clone());
        Ok(checkpoint)
    }
}

fn open(key: &NoteKey, note: &str) -> Result<Checkpoint, NoteError> {
    match key.open_checkpoint(note) {
        Err(NoteError::OtherKey) => {
            let origin = note.lines().next().unwrap_or_default();
            key.renamed(origin).open_checkpoint(note)
        }
        opened => opened,
    }
}

/// Reads a note, plain or in the document of `query.checkpoint`, with its key if it has one; `None`
/// if there is no file.
///
/// # Errors
/// [`Fault::Usage`] when it cannot be read.
pub fn read_note(path: &Path) -> Result<Option<(String, Option<String>)>, Fault> {
    let unread = |why: String| Fault::Usage(format!("{} cannot be read: {why}", path.display()));
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| unread(error.to_string()))?,
    };
    // Only a plain file reports its length.
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| unread(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unread("it is too long for a checkpoint".into()));
    }
    Ok(Some(
        match serde_json::from_str::<SignedCheckpoint>(&text) {
            Ok(document) => (document.note, Some(document.vkey)),
            Err(_) => (text, None),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let error = read_note(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(
            error,
            "/dev/zero cannot be read: it is too long for a checkpoint"
        );
        let none = read_note(Path::new("/dev/null")).unwrap();
        assert_eq!(none, Some((String::new(), None)));
        assert_eq!(read_note(Path::new("/no/such/file")).unwrap(), None);
    }
}
