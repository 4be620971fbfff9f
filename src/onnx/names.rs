//! Unique value names.

use std::collections::BTreeMap;

/// The names that are in use.
#[derive(Debug, Default)]
pub struct Names {
    /// With the suffix to try next for each name as a wish, so that many equal wishes stay cheap.
    taken: BTreeMap<String, u64>,
}

impl Names {
    /// Takes the name; `false` if it is in use.
    pub fn take(&mut self, name: &str) -> bool {
        let free = !self.taken.contains_key(name);
        if free {
            self.taken.insert(name.to_owned(), 1);
        }
        free
    }

    /// Takes `wish`, or the first free one of `wish_1`, `wish_2`, …
    pub fn fresh(&mut self, wish: &str) -> String {
        if self.take(wish) {
            return wish.to_owned();
        }
        let mut next = self.taken.get(wish).copied().unwrap_or(1);
        loop {
            let name = format!("{wish}_{next}");
            next += 1;
            if self.take(&name) {
                self.taken.insert(wish.to_owned(), next);
                return name;
            }
        }
    }
}
