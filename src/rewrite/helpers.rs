//! The functions of rule files, all pure: on types, attributes and constants, never on the
//! structure of the graph, of which the e-graph has many at once.

use super::expr::{Data, Kind};
use crate::ops::Registry;

/// A helper; several may share a name if the kinds of their parameters differ.
pub struct Helper {
    pub name: &'static str,
    pub params: &'static [Kind],
    /// The last parameter may be repeated.
    pub variadic: bool,
    pub result: Kind,
    /// One sentence for `docs/rules.md`.
    pub doc: &'static str,
    run: fn(&[Data], &Registry) -> Option<Data>,
    explain: Option<fn(&[Data], &Registry) -> Option<String>>,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Helper {
    /// The result, or `None` where there is none: the rule does not apply then.
    pub fn call(&self, args: &[Data], registry: &Registry) -> Option<Data> {
        (self.run)(args, registry)
    }

    /// Why a condition does not hold, in words that follow a colon.
    pub fn explain(&self, args: &[Data], registry: &Registry) -> Option<String> {
        (self.explain?)(args, registry)
    }
}
