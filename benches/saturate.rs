//! Saturation and extraction of long networks: rules that fold, with the fusion rules to guide the
//! choice. `cargo bench --bench saturate -- --table` prints the table of docs/scaling.md instead.

#[path = "../tests/common/networks.rs"]
mod networks;

use std::time::Instant;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use networks::NETWORKS;
use qirc::diag::Sources;
use qirc::ir::Graph;
use qirc::ops::Registry;
use qirc::rewrite::{self, Options, Ruleset};

const FILES: [&str; 6] = ["constants", "cleanup", "movement", "fold_batchnorm", "linear", "pooling"];
const LAYERS: [usize; 3] = [100, 1_000, 10_000];

fn main() {
    if std::env::args().any(|arg| arg == "--table") { table() } else { divan::main() }
}

struct Rules {
    registry: Registry,
    rules: Vec<Ruleset>,
    toward: Vec<Ruleset>,
}

impl Rules {
    fn new() -> Self {
        let registry = Registry::built_in();
        let load = |file: &&str| {
            let sets = rewrite::built_in(&mut Sources::default(), &registry, file);
            sets.expect("a built-in file").expect("a right one")
        };
        let rules = FILES.iter().flat_map(load).collect();
        let toward = ["fuse", "fuse_more"].iter().flat_map(load).collect();
        Self { rules, toward, registry }
    }

    fn network(&self, name: &str, layers: usize) -> Graph {
        let make = NETWORKS.iter().find(|(known, _)| *known == name);
        make.expect("a name from the table").1(&self.registry, layers)
    }

    fn run(&self, graph: Graph) -> Graph {
        let options = Options { toward: &self.toward, ..Options::default() };
        rewrite::apply(graph, &self.registry, &self.rules, &options).expect("runs").0
    }
}

fn bench(bencher: Bencher, name: &str, layers: usize) {
    let rules = Rules::new();
    let graph = rules.network(name, layers);
    bencher
        .counter(ItemsCount::new(layers))
        .with_inputs(|| graph.clone())
        .bench_values(|graph| black_box(rules.run(graph)));
}

#[divan::bench(args = LAYERS, sample_count = 3)]
fn residual(bencher: Bencher, layers: usize) {
    bench(bencher, "residual", layers);
}

#[divan::bench(args = LAYERS, sample_count = 3)]
fn mobilenet(bencher: Bencher, layers: usize) {
    bench(bencher, "mobilenet", layers);
}

#[divan::bench(args = LAYERS, sample_count = 3)]
fn unet(bencher: Bencher, layers: usize) {
    bench(bencher, "unet", layers);
}

#[divan::bench(args = LAYERS, sample_count = 3)]
fn densenet(bencher: Bencher, layers: usize) {
    bench(bencher, "densenet", layers);
}

/// The best of three runs each, and the exponent of the time from the first length to the last.
fn table() {
    let rules = Rules::new();
    println!("| network | {} layers | exponent |", LAYERS.map(|layers| layers.to_string()).join(" | "));
    println!("|---|---|---|---|---|");
    for (name, _) in NETWORKS {
        let times = LAYERS.map(|layers| {
            let graph = rules.network(name, layers);
            let run = |_| {
                let start = Instant::now();
                black_box(rules.run(graph.clone()));
                start.elapsed().as_secs_f64() * 1e3
            };
            (0..3).map(run).fold(f64::INFINITY, f64::min)
        });
        let exponent = (times[2] / times[0]).ln() / (LAYERS[2] as f64 / LAYERS[0] as f64).ln();
        println!("| {name} | {} | {exponent:.2} |", times.map(|time| format!("{time:.0} ms")).join(" | "));
    }
}
