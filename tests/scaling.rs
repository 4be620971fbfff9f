//! Rewriting takes near-linear work in the number of layers: counted, not timed.

#[path = "common/networks.rs"]
mod networks;

use networks::{Make, NETWORKS};
use qirc::diag::Sources;
use qirc::ops::Registry;
use qirc::rewrite::{self, Driver, Log, Options, Ruleset};

const FILES: [&str; 9] =
    ["order", "constants", "cleanup", "movement", "fold_batchnorm", "linear", "pooling", "kernels", "bounds"];

fn sets(registry: &Registry, files: &[&str]) -> Vec<Ruleset> {
    let load = |file: &&str| {
        let sets = rewrite::built_in(&mut Sources::default(), registry, file);
        sets.expect("a built-in file").expect("a right one")
    };
    files.iter().flat_map(load).collect()
}

/// The work of a run of the rules that bring a network into the form of the device.
fn work(make: Make, layers: usize, driver: Option<Driver>) -> Log {
    let registry = Registry::built_in();
    let (rules, toward) = (sets(&registry, &FILES), sets(&registry, &["fuse", "fuse_more", "fuse_alone"]));
    let options = Options { driver, toward: &toward, ..Options::default() };
    let (_, log) = rewrite::apply(make(&registry, layers), &registry, &rules, &options).expect("runs");
    assert_eq!(log.limit, None);
    log
}

fn exponent(small: usize, large: usize, times: usize) -> f64 {
    (large as f64 / small as f64).ln() / (times as f64).ln()
}

const SMALL: usize = 100;
const TIMES: usize = 12;

#[test]
fn saturation_and_choice_take_near_linear_work() {
    for (name, make) in NETWORKS {
        let (small, large) = (work(make, SMALL, None), work(make, TIMES * SMALL, None));
        let counts = [
            ("tried", small.tried, large.tried),
            ("nodes", small.nodes, large.nodes),
            ("steps", small.steps, large.steps),
        ];
        for (what, small, large) in counts {
            let exponent = exponent(small, large, TIMES);
            assert!(exponent <= 1.1, "{name}: {what} {small} to {large}: exponent {exponent:.2}");
        }
        assert_eq!(small.iterations, large.iterations, "{name}");
    }
}

#[test]
fn the_greedy_driver_takes_near_linear_work() {
    for (name, make) in NETWORKS {
        let driver = Some(Driver::Greedy);
        let (small, large) = (work(make, SMALL, driver), work(make, TIMES * SMALL, driver));
        let exponent = exponent(small.tried, large.tried, TIMES);
        assert!(exponent <= 1.1, "{name}: tried {} to {}: exponent {exponent:.2}", small.tried, large.tried);
    }
}
