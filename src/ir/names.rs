//! Unique names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What to try next for a wish that was taken before: many equal wishes stay cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Suffixes(BTreeMap<Arc<str>, u64>);

impl Suffixes {
    /// `wish`, or the first of `wish_1`, `wish_2`, … that is not taken and that no earlier call
    /// tried.
    pub fn unique(&mut self, wish: &str, taken: impl Fn(&str) -> bool) -> String {
        if !taken(wish) {
            return wish.to_owned();
        }
        let next = self.0.entry(wish.into()).or_insert(1);
        loop {
            let name = format!("{wish}_{next}");
            // 2^64 names do not fit in memory.
            *next += 1;
            if !taken(&name) {
                return name;
            }
        }
    }
}

/// The names that are in use.
#[derive(Clone, Debug, Default)]
pub struct Names {
    taken: BTreeSet<Arc<str>>,
    suffixes: Suffixes,
}

impl Names {
    /// Takes the name; `false` if it is in use.
    pub fn take(&mut self, name: &str) -> bool {
        !self.taken.contains(name) && self.taken.insert(name.into())
    }

    /// Takes `wish`, or the first free one of `wish_1`, `wish_2`, …
    pub fn fresh(&mut self, wish: &str) -> String {
        let name = self.suffixes.unique(wish, |name| self.taken.contains(name));
        self.taken.insert(name.as_str().into());
        name
    }
}
