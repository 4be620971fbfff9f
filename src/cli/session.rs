//! The state of one command: texts that were read, and how it ends.

use std::io::IsTerminal;

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
}

impl Session {
    pub fn new() -> Self {
        Self { sources: Sources::default(), registry: Registry::built_in() }
    }

    /// Prints findings on stderr.
    pub fn report(&self, found: &Diagnostics) {
        let colour = std::io::stderr().is_terminal();
        for diagnostic in &found.0 {
            eprint!("{}", render(diagnostic, &self.sources, colour));
        }
    }
}
