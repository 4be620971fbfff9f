//! Replays recorded cases of the reference (`tests/vectors/README.md`): every case below
//! `tests/vectors`, or below the directory that `QIRC_VECTORS` names.
//!
//! Each test prints `FAMILY: N matched, M differ` and fails if any case differs.

#[path = "common/figures.rs"]
mod figures;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use qirc::diag::{Diagnostics, Sources, render};
use qirc::interp::Plan;
use qirc::ir::InputShapes;
use qirc::ir::{Graph, Kind, ValueId};
use qirc::ops::{Arithmetic, Registry};
use qirc::pass::{self, Compile, Source};
use qirc::quant::{AkidaOptions, CalibrateOptions, device_limits, read_ranges};
use qirc::tensor::npy::NpyReader;
use qirc::tensor::{DType, Tensor};
use serde_json::Value as Json;

struct Case {
    dir: PathBuf,
    meta: Json,
}

impl Case {
    fn name(&self) -> String {
        self.dir.file_name().unwrap().to_string_lossy().into_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn npy(&self, name: &str) -> Tensor {
        NpyReader::open(BufReader::new(File::open(self.file(name)).unwrap())).unwrap().read_all().unwrap()
    }

    /// The wishes that the case was quantized under.
    fn options(&self) -> (CalibrateOptions, AkidaOptions) {
        let params = &self.meta["qparams"];
        let calibrate = CalibrateOptions {
            per_tensor: params["per_tensor_activations"].as_bool().unwrap_or(false),
            ..CalibrateOptions::default()
        };
        let akida = AkidaOptions {
            input_dtype: if params["input_dtype"] == "int8" { DType::I8 } else { DType::U8 },
            last_output_8_bits: params["last_output_bits"] == 8,
            until: self.meta["quantize_until"].as_str().map(str::to_owned),
        };
        (calibrate, akida)
    }

    fn compile(&self, model: &str, pipeline: &str, source: Source) -> Result<Graph, String> {
        let registry = Registry::built_in();
        let graph =
            qirc::onnx::import(&self.file(model), &registry, &InputShapes::default()).map_err(words)?;
        let mut sources = Sources::default();
        let text = pass::named_pipeline(pipeline).unwrap();
        let id = sources.add(pipeline, text).unwrap();
        let calls = qirc::syntax::pipeline::parse(text, id).map_err(words)?.0;
        let (calibrate, akida) = self.options();
        let wishes = Compile { source, calibrate, akida, ..Compile::with_rules(&[], &mut sources) };
        match pass::compile(graph, &registry, &calls, wishes, None, &mut |_, _| {}) {
            Ok(outcome) => Ok(outcome.graph),
            Err(pass::Failure::Input(found) | pass::Failure::Bug { found, .. }) => Err(words(found)),
        }
    }

    fn reference(&self) -> Result<Graph, String> {
        qirc::onnx::import(&self.file("quantized.onnx"), &Registry::built_in(), &InputShapes::default())
            .map_err(words)
    }
}

fn words(found: Diagnostics) -> String {
    found.into_iter().map(|d| render(&d, &Sources::default(), false)).collect()
}

fn root() -> PathBuf {
    std::env::var_os("QIRC_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from)
}

fn cases(root: &Path) -> Vec<Case> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let cases: Vec<Case> = dirs
        .into_iter()
        .filter_map(|dir| {
            let meta = fs::read_to_string(dir.join("meta.json")).ok()?;
            Some(Case { meta: serde_json::from_str(&meta).unwrap(), dir })
        })
        .collect();
    assert!(!cases.is_empty(), "no cases found");
    cases
}

/// Runs `check` on every case, prints the count per family and fails if any differs.
fn replay(title: &str, check: impl Fn(&Case) -> Result<(), String>) {
    replay_below(&root(), title, check);
}

/// [`replay`] of the cases below one directory.
fn replay_below(root: &Path, title: &str, check: impl Fn(&Case) -> Result<(), String>) {
    let mut families: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in cases(root) {
        let family = case.meta["family"].as_str().unwrap().to_owned();
        let count = families.entry(family).or_default();
        match check(&case) {
            Ok(()) => count.0 += 1,
            Err(fault) => {
                count.1 += 1;
                faults.push(format!("{}: {fault}", case.name()));
            }
        }
    }
    let counts = families
        .iter()
        .map(|(family, (matched, differ))| format!("\n{family}: {matched} matched, {differ} differ"));
    figures::show(&format!("{title}{}", counts.collect::<String>()));
    assert!(faults.is_empty(), "{title}: {} cases differ\n{}", faults.len(), faults.join("\n"));
}

/// The values of a run, by name.
fn run(graph: &Graph, input: Tensor, arithmetic: Arithmetic) -> Result<BTreeMap<String, Tensor>, String> {
    let registry = Registry::built_in();
    let plan = Plan::new(graph, &registry, arithmetic).map_err(|error| words(error.into()))?;
    let name = graph.value(graph.inputs().next().unwrap()).name.to_string();
    let mut values = BTreeMap::new();
    plan.run_frames(&BTreeMap::from([(name, input)]), &mut |id, tensor| {
        values.insert(graph.value(id).name.to_string(), tensor.clone());
    })
    .map_err(|error| words(error.into()))?;
    Ok(values)
}

/// Every array of an archive, by name.
fn npz(path: &Path) -> BTreeMap<String, Tensor> {
    let mut zip = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut member = zip.by_index(i).unwrap();
            let name = member.name().trim_end_matches(".npy").to_owned();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            (name, NpyReader::open(Cursor::new(bytes)).unwrap().read_all().unwrap())
        })
        .collect()
}

/// Equal bits, or, for what float operators behind the dequantizer make, a few units in the last place.
fn same(ours: &Tensor, theirs: &Tensor, exact: bool) -> bool {
    if exact {
        return ours.dtype() == theirs.dtype()
            && ours.sizes() == theirs.sizes()
            && ours.to_le_bytes() == theirs.to_le_bytes();
    }
    match (ours.elements::<f32>(), theirs.elements::<f32>()) {
        // onnxruntime's exp, sin and sums round differently in the last bits.
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0))
        }
        _ => false,
    }
}

/// Whether a value is made on the device, by the input quantizer or by the dequantizer.
fn on_device(graph: &Graph, value: ValueId) -> bool {
    graph.node(value.node).op().is_none_or(|op| op.starts_with(char::is_uppercase))
}

#[test]
fn quantized_files_run_to_the_recorded_values() {
    replay("running the reference's quantized files", |case| {
        let graph = case.reference()?;
        let values = run(&graph, case.npy("input.npy"), Arithmetic::F32)?;
        for (name, theirs) in npz(&case.file("node_outputs.npz")) {
            let ours = values.get(&name).ok_or(format!("there is no value {name}"))?;
            let id = graph.find(&name).ok_or(format!("there is no value {name}"))?;
            if !same(ours, &theirs, on_device(&graph, id)) {
                return Err(format!("{name} differs in f32 arithmetic"));
            }
        }
        if case.file("exact.npy").exists() {
            let values = run(&graph, case.npy("input.npy"), Arithmetic::Exact)?;
            let theirs = case.npy("exact.npy");
            let dequantizer = graph.node(graph.outputs()[0].value.node);
            let last = &graph.value(dequantizer.operand(0).ok_or("no dequantizer")?).name;
            let integers = |tensor: &Tensor| -> Vec<i64> {
                let ints = tensor.elements::<i8>().map(|v| v.iter().map(|&v| i64::from(v)).collect());
                ints.or_else(|| tensor.elements::<i32>().map(|v| v.iter().map(|&v| i64::from(v)).collect()))
                    .or_else(|| tensor.elements::<f32>().map(|v| v.iter().map(|&v| v as i64).collect()))
                    .or_else(|| tensor.elements().map(<[i64]>::to_vec))
                    .unwrap_or_default()
            };
            if integers(&values[&**last]) != integers(&theirs) {
                return Err("exact arithmetic differs from exact.npy".to_owned());
            }
        }
        Ok(())
    });
}

/// Files without scales, whose divisors are int32: what they compute is known, what it stands for only at
/// their ends.
#[test]
fn files_of_an_older_version_run_to_the_recorded_values() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/quantizeml-0.7.1");
    replay_below(&root, "running quantized files of QuantizeML 0.7.1", |case| {
        let graph = case.reference()?;
        let values = run(&graph, case.npy("input.npy"), Arithmetic::F32)?;
        for (name, theirs) in npz(&case.file("node_outputs.npz")) {
            let ours = values.get(&name).ok_or(format!("there is no value {name}"))?;
            if !same(ours, &theirs, true) {
                return Err(format!("{name} differs in f32 arithmetic"));
            }
        }
        // A divisor of 0 stands for one that int32 does not have: only floats divide by it.
        let exact = run(&graph, case.npy("input.npy"), Arithmetic::Exact);
        match exact {
            Ok(exact) if exact == values => Ok(()),
            Err(error) if case.name() == "depthwise" && error.contains("power of two") => Ok(()),
            other => Err(format!("in exact arithmetic: {:?}", other.map(|_| "other values"))),
        }
    });
}

/// What makes each quantized value: operator, attributes, constants, grid, node name, and the names of
/// its other operands. A node without constants may be called otherwise: the reference gives
/// concatenations that it splits a random name. So it does with convolutions over time, whose constants
/// are compared without it.
fn describe(graph: &Graph) -> BTreeMap<String, String> {
    graph
        .order()
        .into_iter()
        .filter_map(|id| {
            let node = graph.node(id);
            let Kind::Op { op, attrs } = &node.kind else { return None };
            if !op.starts_with(char::is_uppercase) {
                return None;
            }
            let random = op.ends_with("BufferTempConv");
            let own = |name: &str| match name.strip_prefix(&*node.name).filter(|_| random) {
                Some(suffix) => suffix.to_owned(),
                None => name.to_owned(),
            };
            let operands: Vec<String> = node
                .operands
                .iter()
                .map(|operand| match operand {
                    None => "_".to_owned(),
                    Some(value) => match graph.constant(*value) {
                        Some(tensor) => format!("{} = {tensor:?}", own(&graph.value(*value).name)),
                        None => graph.value(*value).name.to_string(),
                    },
                })
                .collect();
            let results: Vec<String> = node.results.iter().map(|value| format!("{value:?}")).collect();
            let constants = node.operands.iter().flatten().any(|value| graph.constant(*value).is_some());
            let name = if constants && !random { &*node.name } else { "" };
            let text = format!("{op} {attrs:?}\n{}\n{}\n{name}", operands.join("\n"), results.join("\n"));
            Some((node.results[0].name.to_string(), text))
        })
        .collect()
}

#[test]
fn requantizing_prepared_models_gives_the_same_integers() {
    replay("requantizing the reference's prepared models", |case| {
        let text = fs::read_to_string(case.file("ranges.json")).map_err(|error| error.to_string());
        let Ok(text) = text else { return Ok(()) };
        let ranges = read_ranges(&text, "ranges.json").map_err(words)?;
        let source = Source::Ranges { ranges, file: "ranges.json".into() };
        let ours = describe(&case.compile("sanitized.onnx", "akida-as-is", source)?);
        let theirs = describe(&case.reference()?);
        if ours.keys().ne(theirs.keys()) {
            return Err(format!("layers {:?}, expected {:?}", ours.keys(), theirs.keys()));
        }
        for (name, theirs) in &theirs {
            let ours = &ours[name];
            if let Some((a, b)) = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b) {
                return Err(format!("{name} differs:\n  ours   {a:.300}\n  theirs {b:.300}"));
            }
        }
        Ok(())
    });
}

/// The layers in order, with the operators that their operands come from.
fn wiring(graph: &Graph) -> Vec<String> {
    let kind = |id| {
        let node = graph.node(id);
        match &node.kind {
            Kind::Op { op, attrs } => {
                let word = |name| attrs.get_str(name).unwrap_or("");
                let operands = node.operands.len();
                format!("{op}/{}/{}/{operands}", word("pool"), word("activation"))
            }
            Kind::Input | Kind::Const(_) => String::new(),
        }
    };
    let mut layers: Vec<String> = graph
        .order()
        .into_iter()
        .filter(|&id| graph.node(id).op().is_some())
        .map(|id| {
            let from: Vec<String> = graph
                .node(id)
                .operands
                .iter()
                .flatten()
                .filter(|value| graph.constant(**value).is_none())
                .map(|value| kind(value.node))
                .collect();
            format!("{} <- {}", kind(id), from.join(" + "))
        })
        .collect();
    layers.sort();
    layers
}

/// Where we leave fewer operators float, or make layers that the device has (docs/differences.md), ours are other
/// layers than the reference's. Then both are measured against the float network: a layer more may round once more, in the
/// middle too, so our error may be half as large again and half a step more, or a twentieth of what the network gives
/// more. Elements at the limit of int8 are left out, as inputs beyond the calibrated ones come there.
fn as_close_as_theirs(ours: &Graph, theirs: &Graph, float: &Graph, input: Tensor) -> Result<(), String> {
    let output = |graph: &Graph, values: &BTreeMap<String, Tensor>| -> Vec<f64> {
        let values = values[&*graph.value(graph.outputs()[0].value).name].elements::<f32>().unwrap();
        values.iter().map(|&v| f64::from(v)).collect()
    };
    let our_values = run(ours, input.clone(), Arithmetic::Exact)?;
    let reals = output(float, &run(float, input.clone(), Arithmetic::Exact)?);
    let (a, b) = (output(ours, &our_values), output(theirs, &run(theirs, input, Arithmetic::Exact)?));
    if a.len() != b.len() || a.len() != reals.len() {
        return Err(format!("{} outputs, expected {}", a.len(), b.len()));
    }
    // An int32 output has no limit.
    let limited: Vec<bool> = match leaving(ours, &our_values).remove(0).elements::<i8>() {
        Some(integers) => integers.iter().map(|integer| matches!(integer, -128 | 127)).collect(),
        None => vec![false; a.len()],
    };
    let leaves =
        |value: &ValueId| ours.uses(*value).iter().any(|at| ours.node(at.node).op() == Some("Dequantizer"));
    let grids = ours.values().filter(leaves).filter_map(|value| ours.ty(value).grid.affine().cloned());
    let step =
        grids.flat_map(|grid| grid.factors.to_vec()).map(|inv_scale| 1.0 / inv_scale).fold(0.0, f64::max);
    let error = |side: &[f64]| {
        let squares = side.iter().zip(&reals).zip(&limited).filter(|(_, limited)| !**limited);
        let squares: Vec<f64> = squares.map(|((v, real), _)| (v - real).powi(2)).collect();
        (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
    };
    let (ours, theirs, whole) = (error(&a), error(&b), error(&vec![0.0; reals.len()]));
    match ours <= (1.5 * theirs + 0.5 * step).max(theirs + whole / 20.0) {
        true => Ok(()),
        false => Err(format!("{ours} off on average, the reference {theirs}, a step is {step}")),
    }
}

/// Integers that leave the device, one tensor per operand of the dequantizer.
fn leaving(graph: &Graph, values: &BTreeMap<String, Tensor>) -> Vec<Tensor> {
    let dequantizer = graph
        .order()
        .into_iter()
        .find(|&id| graph.node(id).op() == Some("Dequantizer"))
        .expect("a dequantizer");
    let operands = graph.node(dequantizer).operands.iter().flatten().step_by(2);
    operands.map(|value| values[&*graph.value(*value).name].clone()).collect()
}

#[test]
fn compiling_float_models_gives_the_same_layers_and_close_outputs() {
    replay("compiling the float models", |case| {
        if !case.file("model.onnx").exists() {
            return Ok(());
        }
        let source = Source::Files(vec![case.file("samples.npy")]);
        let ours = case.compile("model.onnx", "akida", source)?;
        let theirs = case.reference()?;
        let (a, b) = (wiring(&ours), wiring(&theirs));
        let float =
            |layers: &[String]| layers.iter().filter(|layer| layer.starts_with(char::is_lowercase)).count();
        let limits = |graph: &Graph| device_limits(graph, &Registry::built_in()).0.len();
        // Where the device's tools would refuse the reference's layers, or compute them otherwise, ours may be others.
        let improved = float(&a) < float(&b) || limits(&ours) < limits(&theirs);
        if a != b && !improved {
            return Err(format!(
                "layers\n  ours   {}\n  theirs {}",
                a.join("\n         "),
                b.join("\n         ")
            ));
        }
        let input = case.npy("input.npy");
        if improved {
            let float =
                qirc::onnx::import(&case.file("model.onnx"), &Registry::built_in(), &InputShapes::default());
            return as_close_as_theirs(&ours, &theirs, &float.map_err(words)?, input);
        }
        let ours = leaving(&ours, &run(&ours, input.clone(), Arithmetic::Exact)?);
        let theirs = leaving(&theirs, &run(&theirs, input, Arithmetic::Exact)?);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let steps = |tensor: &Tensor| -> Vec<i64> {
                let bytes = tensor.elements::<i8>().map(|v| v.iter().map(|&v| i64::from(v)).collect());
                bytes
                    .or_else(|| tensor.elements::<i32>().map(|v| v.iter().map(|&v| i64::from(v)).collect()))
                    .unwrap()
            };
            let (a, b) = (steps(ours), steps(theirs));
            let far = a.iter().zip(&b).filter(|(a, b)| (*a - *b).abs() > 1).count();
            if a.len() != b.len() || far * 1000 > a.len() {
                return Err(format!("{far} of {} outputs are more than one step away", a.len()));
            }
        }
        Ok(())
    });
}
