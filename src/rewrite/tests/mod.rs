//! Rules on graphs.

use super::*;
use crate::diag::Sources;

fn all() -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let registry = Registry::built_in();
    let mut sets = Vec::new();
    for (name, _) in BUILT_IN {
        match built_in(&mut sources, &registry, name).expect("is built in") {
            Ok(loaded) => sets.extend(loaded),
            Err(found) => {
                for finding in found.0 {
                    eprintln!("{}", crate::diag::render(&finding, &sources, false));
                }
                panic!("{name} is wrong");
            }
        }
    }
    sets
}

#[test]
fn built_in_rules_are_right() {
    let sets = all();
    assert!(sets.iter().map(|set| set.rules.len()).sum::<usize>() > 50);
}
