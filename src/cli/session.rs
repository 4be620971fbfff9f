//! The state of one command: texts that were read, and how it ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::files::io_fault;
use crate::diag::{Diagnostics, Sources, render};
use crate::ops::Registry;

/// How a command ends when it is not done.
pub enum End {
    Input(Diagnostics),
    Usage(String),
    Bug(Diagnostics),
}

impl From<Diagnostics> for End {
    fn from(found: Diagnostics) -> Self {
        End::Input(found)
    }
}

pub struct Session {
    pub sources: Sources,
    pub registry: Registry,
    /// The files that were read, so that no output replaces one.
    read: BTreeSet<PathBuf>,
}

impl Session {
    pub fn new() -> Self {
        Self { sources: Sources::default(), registry: Registry::built_in(), read: BTreeSet::new() }
    }

    /// Notes that a file is read. (What can't be found is no file that an output could replace.)
    pub fn reads(&mut self, path: &Path) {
        self.read.extend(fs::canonicalize(path));
    }

    /// Whether the file was read; the path is absolute, without links.
    pub fn has_read(&self, path: &Path) -> bool {
        self.read.contains(path)
    }

    /// Prints findings on stderr.
    pub fn report(&self, found: &Diagnostics) {
        let colour = std::io::stderr().is_terminal();
        for diagnostic in &found.0 {
            complain(&render(diagnostic, &self.sources, colour));
        }
    }
}

/// Prints a line to stdout. A reader that has left is no error; output that is lost is one.
pub fn say(text: impl std::fmt::Display) -> Result<(), Diagnostics> {
    let mut stdout = io::stdout().lock();
    // Flushed here, as what is left at the end of the process is written without a word.
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io_fault(Path::new("standard output"), error))
        }
        _ => Ok(()),
    }
}

/// Prints to stderr, where it is still open: there is no other place to complain at.
pub fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
