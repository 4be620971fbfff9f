//! The recorded rewrites, made again by the rules alone, lead from every network to its result.

#[path = "common/networks.rs"]
mod networks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use networks::NETWORKS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use qirc::diag::{Diagnostics, Loc, Sources};
use qirc::ir::InputShapes;
use qirc::ir::{Attrs, Graph, ValueId};
use qirc::onnx::import;
use qirc::ops::{Builder, Registry};
use qirc::pass::{self, Compile, Source, Trace};
use qirc::quant::{AkidaOptions, CalibrateOptions, read_ranges};
use qirc::rewrite::{self, Application, Contract, Driver, NodeRef, Options, Record, Ruleset, replay};
use qirc::syntax::{pipeline, qir};
use qirc::tensor::{DType, Shape, Tensor, TensorType};

const PREPARE: [&str; 10] = [
    "order",
    "constants",
    "cleanup",
    "activations",
    "movement",
    "fold_batchnorm",
    "linear",
    "pooling",
    "kernels",
    "bounds",
];
const FUSE: [&str; 3] = ["fuse", "fuse_more", "fuse_alone"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn words(found: Diagnostics) -> String {
    found
        .into_iter()
        .map(|finding| format!("{} {} {:?}\n", finding.code, finding.message, finding.notes))
        .collect()
}

fn built_in(registry: &Registry, files: &[&str]) -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let mut load = |file: &&str| rewrite::built_in(&mut sources, registry, file);
    files.iter().flat_map(|file| load(file).expect("a built-in file").expect("a right one")).collect()
}

/// Runs rules; the record has to lead to what came of them.
fn run(net: &Graph, registry: &Registry, sets: &[Ruleset], options: &Options, name: &str) -> (Graph, Record) {
    let options = Options { record: true, ..*options };
    let (after, log) = rewrite::apply(net.clone(), registry, sets, &options).expect("runs");
    let all: Vec<&Ruleset> = sets.iter().chain(options.toward).collect();
    holds(net, &after, &log.record, &all, registry, name);
    (after, log.record)
}

fn holds(net: &Graph, after: &Graph, record: &Record, sets: &[&Ruleset], registry: &Registry, name: &str) {
    match replay(net, record, sets, registry) {
        Ok(again) => assert!(again.same_as(after), "{name}: another network"),
        Err(found) => {
            let net = qir::print(net, registry, "data.safetensors").qir;
            let (said, after) = (words(found), qir::print(after, registry, "data.safetensors").qir);
            panic!("{name}:\n{said}\n{net}\n{after}\n{:#?}", record.runs.last().map(|run| &run.rounds));
        }
    }
}

/// Prepares a network and fuses it, by both drivers; gives how many applications there were.
fn prepared_and_fused(net: &Graph, registry: &Registry, options: &Options, name: &str) -> usize {
    let (prepare, fuse) = (built_in(registry, &PREPARE), built_in(registry, &FUSE));
    let mut count = 0;
    for driver in [None, Some(Driver::Greedy)] {
        let name = format!("{name}, {driver:?}");
        let options = Options { driver, ..*options };
        let (prepared, first) =
            run(net, registry, &prepare, &Options { toward: &fuse, ..options }, &format!("{name}, prepared"));
        // The value of an input may lose its other names.
        let until = options.until.filter(|name| prepared.find(name).is_some());
        let (_, second) = run(&prepared, registry, &fuse, &Options { until, ..options }, &name);
        let rounds = first.runs.iter().chain(&second.runs).flat_map(|run| &run.rounds);
        count += rounds.map(Vec::len).sum::<usize>();
    }
    count
}

#[test]
fn long_networks_follow_from_their_records() {
    let registry = Registry::built_in();
    for (name, make) in NETWORKS {
        let count = prepared_and_fused(&make(&registry, 40), &registry, &Options::default(), name);
        assert!(count > 100, "{name}: {count}");
    }
}

/// Compiles with explanations; what each pass did with rules has to follow from its record. Gives the
/// names of the rules that were applied.
fn compiled(net: Graph, registry: &Registry, pipeline: &str, wishes: Compile, name: &str) -> Vec<String> {
    let mut trace = Trace::default();
    let text = pass::named_pipeline(pipeline).expect("is there");
    let id = Sources::default().add(pipeline, text).expect("is small");
    let calls = pipeline::parse(text, id).expect("is right").0;
    let wishes = Compile { trace: Some(&mut trace), ..wishes };
    // Explanations are there for what failed, too.
    let _ = pass::compile(net, registry, &calls, wishes, None, &mut |_, _| {});
    let mut rules = Vec::new();
    for (pass, run) in trace.passes.iter().flat_map(|pass| pass.rules.iter().map(move |run| (pass, run))) {
        let sets: Vec<&Ruleset> = run.sets.iter().chain(&run.toward).collect();
        let name = format!("{name}, {}", pass.call);
        holds(&run.before, &run.after, &run.record, &sets, registry, &name);
        rules.extend(run.applied.iter().map(|applied| applied.rule.to_string()));
    }
    rules
}

fn parsed(path: &Path, registry: &Registry) -> Option<Graph> {
    let text = fs::read_to_string(path).expect("is read");
    let id = Sources::default().add("net.qir", text.as_str()).expect("is small");
    let data = &mut |data: &str| Ok(fs::read(path.with_file_name(data))?.into());
    qir::parse(&text, id, registry, data).ok()
}

#[test]
fn the_vectors_follow_from_their_records() {
    let registry = Registry::built_in();
    let entries = fs::read_dir(root().join("tests/vectors")).expect("is there");
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.expect("is read").path()).collect();
    dirs.retain(|dir| dir.join("meta.json").exists());
    dirs.sort();
    assert!(dirs.len() > 50, "{}", dirs.len());
    for dir in dirs {
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect("is read");
        let meta: serde_json::Value = serde_json::from_str(&read("meta.json")).expect("is right");
        let ranges = || read_ranges(&read("ranges.json"), "ranges.json").expect("is right");
        for (model, pipeline) in [("model.onnx", "akida"), ("sanitized.onnx", "akida-as-is")] {
            let path = dir.join(model);
            if !path.exists() {
                continue;
            }
            let source = match pipeline {
                "akida" => Source::Files(vec![dir.join("samples.npy")]),
                _ => Source::Ranges { ranges: ranges(), file: "ranges.json".to_owned() },
            };
            let net = import(&path, &registry, &InputShapes::default()).expect("is read");
            let until = meta["quantize_until"].as_str().map(str::to_owned);
            let akida = AkidaOptions { until, ..AkidaOptions::default() };
            let mut sources = Sources::default();
            let wishes = Compile { source, akida, ..Compile::with_rules(&[], &mut sources) };
            let rules = compiled(net, &registry, pipeline, wishes, &path.display().to_string());
            assert!(!rules.is_empty(), "{}", path.display());
        }
    }
}

/// Files below a directory that end so.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("is there").map(|entry| entry.expect("is read").path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { files(&path, ending) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    found
}

#[test]
fn the_examples_follow_from_their_records() {
    let registry = Registry::built_in();
    for path in files(&root().join("examples"), ".onnx") {
        let net = import(&path, &registry, &InputShapes::default()).expect("is read");
        compiled_at_random(net, &registry, &[], &path.display().to_string());
    }
    for path in
        files(&root().join("examples"), ".qir").iter().chain(&files(&root().join("tests/golden"), ".qir"))
    {
        let Some(net) = parsed(path, &registry) else { continue };
        compiled_at_random(net, &registry, &[], &path.display().to_string());
    }
}

fn compiled_at_random(net: Graph, registry: &Registry, rules: &[Ruleset], name: &str) -> Vec<String> {
    let mut sources = Sources::default();
    let calibrate = CalibrateOptions { num_samples: Some(4), ..CalibrateOptions::default() };
    let source = Source::Random { seed: 1 };
    let wishes = Compile { source, calibrate, ..Compile::with_rules(rules, &mut sources) };
    compiled(net, registry, "akida", wishes, name)
}

#[test]
fn rules_of_users_follow_from_their_records() {
    let mut fired: BTreeMap<String, usize> = BTreeMap::new();
    for dir in [
        "tests/golden/custom",
        "tests/golden/language",
        "tests/golden/layers",
        "tests/golden/explain",
        "examples/acme",
        "examples/golden",
    ] {
        let dir = root().join(dir);
        let acme = root().join("examples/acme/acme.qrules");
        for file in files(&dir, ".qrules").into_iter().chain([acme]) {
            let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
            let text = fs::read_to_string(&file).expect("is read");
            let read = &mut |name: &Path| fs::read_to_string(name).map_err(|error| error.to_string());
            let name = file.display().to_string();
            let Ok(loaded) = rewrite::load(&mut sources, &mut registry, &[(&name, &text)], read) else {
                continue;
            };
            for path in files(&dir, ".qir") {
                let Some(net) = parsed(&path, &registry) else { continue };
                let name = format!("{} under {name}", path.display());
                let lasting = loaded.sets.iter().all(|set| set.contract != Contract::Lossy);
                for driver in
                    [None, Some(Driver::Greedy)].into_iter().chain(lasting.then_some(Some(Driver::Saturate)))
                {
                    let options = Options { driver, nodes: 2000, applications: 200, ..Options::default() };
                    let (_, record) =
                        run(&net, &registry, &loaded.sets, &options, &format!("{name}, {driver:?}"));
                    for application in record.runs.iter().flat_map(|run| &run.rounds).flatten() {
                        *fired.entry(application.rule.to_string()).or_default() += 1;
                    }
                }
                compiled_at_random(net, &registry, &loaded.sets, &name);
            }
        }
    }
    // Several results, `..rest`, constant arithmetic, declared layers, several right sides.
    for rule in [
        "split_of_concat",
        "concat_of_split",
        "concat_into_concat",
        "mul_into_dense",
        "halve",
        "leaky_dense",
        "dense_clip",
        "twice",
        "two_arms",
    ] {
        assert!(fired.contains_key(rule), "{rule} of {fired:?}");
    }
}

/// A network of operators at random places: many read the same values, and many are equal.
fn network(recipe: &[(usize, Index, Index)], registry: &Registry) -> Graph {
    let mut graph = Graph::new("random");
    let ty = TensorType::new(DType::F32, Shape::fixed(&[1, 4, 6, 6]));
    let x = graph.add_input("x", ty, Loc::unknown());
    let mut values = vec![x];
    for (at, (kind, first, second)) in recipe.iter().enumerate() {
        // Mostly the last values, so that chains come about.
        let recent = &values[values.len().saturating_sub(4)..];
        let (a, b) = (*first.get(recent), *second.get(&values));
        let sizes: Vec<usize> = graph.ty(a).shape.iter().filter_map(|dim| dim.fixed()).collect();
        let [rank, channels] = [sizes.len(), sizes.get(1).copied().unwrap_or(1)];
        let constant = |graph: &mut Graph, what: &str, sizes: &[usize], positive: bool| {
            let number = |i: usize| ((i * 7 + second.index(5) * 13) % 32) as f32 / 16.0;
            let elements =
                (0..sizes.iter().product()).map(|i| number(i) + if positive { 0.25 } else { -1.0 });
            let tensor = Tensor::new(sizes, elements.collect::<Vec<f32>>()).expect("as many elements");
            graph.add_const(&format!("{what}{at}"), tensor, Loc::unknown())
        };
        let broadcast: Vec<usize> = (0..rank).map(|axis| if axis == 1 { channels } else { 1 }).collect();
        let pads = || Attrs::new().with("pads", vec![1, 1, 1, 1]);
        let window = || Attrs::new().with("kernel_shape", vec![2, 2]);
        let (op, attrs, operands): (&str, Attrs, Vec<ValueId>) = match kind % 20 {
            0 => ("conv2d", Attrs::new(), vec![a, constant(&mut graph, "w", &[4, channels, 1, 1], false)]),
            1 => ("conv2d", pads(), vec![a, constant(&mut graph, "w", &[4, channels, 3, 3], false)]),
            2 => {
                let attrs = pads().with("group", channels as i64);
                ("conv2d", attrs, vec![a, constant(&mut graph, "w", &[channels, 1, 3, 3], false)])
            }
            3 | 4 => {
                let names = [("g", *kind % 40 < 20), ("b", false), ("m", false), ("v", true)];
                let read = names.map(|(name, positive)| constant(&mut graph, name, &[channels], positive));
                ("batch_norm", Attrs::new(), [a].into_iter().chain(read).collect())
            }
            5..=7 => ("relu", Attrs::new(), vec![a]),
            8 => ("clip", Attrs::new().with("min", 0.0).with("max", 6.0), vec![a]),
            9 => ("clip", Attrs::new().with("min", -1.0).with("max", 2.0), vec![a]),
            10 => ("max_pool2d", window().with("strides", vec![2, 2]), vec![a]),
            11 => ("max_pool2d", window().with("pads", vec![0, 0, 1, 1]), vec![a]),
            12 => ("global_avg_pool2d", Attrs::new(), vec![a]),
            13 => ("add", Attrs::new(), vec![a, b]),
            14 => ("concat", Attrs::new().with("axis", 1), vec![a, b]),
            15 => ("transpose", Attrs::new().with("perm", vec![0, 2, 3, 1]), vec![a]),
            16 => ("transpose", Attrs::new().with("perm", vec![0, 3, 1, 2]), vec![a]),
            17 => ("mul", Attrs::new(), vec![a, constant(&mut graph, "k", &broadcast, *kind < 20)]),
            18 => ("add", Attrs::new(), vec![a, constant(&mut graph, "k", &broadcast, false)]),
            _ => ("split", Attrs::new().with("axis", 1).with("sizes", vec![1, channels as i64 - 1]), vec![a]),
        };
        let mut builder = Builder { graph: &mut graph, registry, loc: Loc::unknown() };
        let operands = operands.into_iter().map(Some).collect();
        // What does not fit is left out.
        if let Ok(node) = builder.node(op, attrs, operands, &format!("v{at}")) {
            let count = graph.node(node).results.len() as u32;
            values.extend((0..count).map(|result| ValueId { node, result }));
        }
    }
    let last = *values.last().unwrap_or(&x);
    graph.add_output("y", last);
    if values.len() > 5 {
        graph.add_output("z", values[values.len() / 2]);
    }
    graph.remove_dead();
    graph
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn random_networks_follow_from_their_records(
        recipe in vec((0usize..40, any::<Index>(), any::<Index>()), 1..24),
        until in proptest::option::weighted(0.3, any::<Index>()),
        once in proptest::bool::weighted(0.3),
    ) {
        let registry = Registry::built_in();
        let net = network(&recipe, &registry);
        let made = net.values().filter(|value| net.node(value.node).op().is_some());
        let names: Vec<String> = made.map(|value| net.value(value).name.to_string()).collect();
        let until = until.filter(|_| !names.is_empty());
        let until = until.map(|at| at.get(&names).as_str());
        prepared_and_fused(&net, &registry, &Options { once, until, ..Options::default() }, "random");
    }
}

/// The code of what is wrong with a record.
fn fault(net: &Graph, record: &Record, sets: &[&Ruleset], registry: &Registry) -> &'static str {
    match replay(net, record, sets, registry) {
        Ok(_) => "holds",
        Err(found) => found.0.first().map_or("nothing", |finding| finding.code),
    }
}

#[test]
fn a_record_that_was_tampered_with_does_not_hold() {
    let registry = Registry::built_in();
    let net = NETWORKS[0].1(&registry, 9);
    let sets = built_in(&registry, &["cleanup", "fold_batchnorm", "fuse"]);
    let all: Vec<&Ruleset> = sets.iter().collect();
    let rules = || sets.iter().flat_map(|set| set.rules.iter().map(move |rule| (set, rule)));
    for driver in [None, Some(Driver::Greedy)] {
        let options = Options { driver, record: true, ..Options::default() };
        let (after, log) = rewrite::apply(net.clone(), &registry, &sets, &options).expect("runs");
        let (record, rests_on) = (log.record, log.applied);
        let again = |record: &Record| fault(&net, record, &all, &registry);
        assert_eq!(again(&record), "holds");
        let at = record.runs.iter().position(|run| !run.rounds.concat().is_empty());
        let at = at.expect("something was rewritten");
        let tampered = |change: &dyn Fn(&mut Vec<Vec<Application>>)| {
            let mut other = record.clone();
            change(&mut other.runs[at].rounds);
            again(&other)
        };
        let mut needed = 0;
        for (round, applications) in record.runs[at].rounds.iter().enumerate() {
            for (at, now) in applications.iter().enumerate() {
                // Another rule does not match there.
                let (set, rule) = rules().find(|(_, rule)| rule.name != now.rule).expect("there are several");
                let swapped = tampered(&|rounds| {
                    let application = &mut rounds[round][at];
                    application.ruleset = set.name.clone();
                    application.rule = rule.name.clone();
                    application.span = rule.span;
                    application.arm = rule.arm;
                });
                assert_eq!(swapped, "Q0552");
                assert_eq!(tampered(&|rounds| rounds[round][at].rule = "none".into()), "Q0551");
                // Nor does this one elsewhere, or where nothing is.
                let moved = |to: NodeRef| tampered(&|rounds| rounds[round][at].matched[0] = to);
                assert_eq!(moved(NodeRef::Given(0)), "Q0552");
                assert_eq!(moved(NodeRef::Given(1000)), "Q0552");
                assert_eq!(moved(NodeRef::Made { application: 1000, at: 0 }), "Q0552");
                assert_eq!(tampered(&|rounds| rounds[round][at].matched.clear()), "Q0552");
                let idle = tampered(&|rounds| rounds[round][at].failed = true);
                let missed = tampered(&|rounds| drop(rounds[round].remove(at)));
                assert!(idle == "holds" || missed != "holds", "{now:?}");
                needed += usize::from(idle != "holds");
            }
        }
        // Only what the result does not rest on may be missed.
        assert_eq!(needed, rests_on.len());
        // Of another network, or with another result.
        assert_eq!(fault(&after, &record, &all, &registry), "Q0550");
        let mut other = record.clone();
        let last = other.runs.last_mut().expect("is there");
        let output = last.after.outputs()[0].value;
        let before = last.after.node(output.node).operands[0].expect("is there");
        last.after.replace_uses(output, before);
        assert_eq!(again(&other), "Q0554");
        let last = other.runs.last_mut().expect("is there");
        last.after.add_output("more", before);
        assert_eq!(again(&other), "Q0554");
    }
}
