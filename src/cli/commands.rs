//! One function a command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{
    ArithmeticArg, CalibrateArgs, CheckArgs, CompileArgs, Emit, FmtArgs, ImportArgs, ModelArgs, OptArgs,
    PrepareArgs, RangesArg, RunArgs, TestArgs,
};
use super::files::{InPlace, Outputs, onnx_paths, qir_paths, read_model, read_tensor, read_text, replace};
use super::golden;
use super::session::{End, Session, say};
use super::values::ValueFiles;
use crate::diag::{Diagnostic, Diagnostics, WithPlaces, printable};
use crate::interp::Plan;
use crate::ir::{Graph, InputShapes, ValueId};
use crate::ops::Arithmetic;
use crate::pass::{self, Compile, Failure, Outcome, Source, Step, Trace};
use crate::quant::{
    AkidaOptions, CalibrateOptions, SampleFiles, bounds_table, check_fixed_point, check_layers,
    device_limits, ranges_of, read_ranges, write_config, write_ranges,
};
use crate::rewrite::Ruleset;
use crate::syntax::{qir, rules};
use crate::tensor::Tensor;

pub fn compile(session: &mut Session, args: &CompileArgs) -> Result<(), End> {
    let output = match &args.output {
        Some(output) => output.clone(),
        None => PathBuf::from(args.model.model.file_name().unwrap_or_default()).with_extension("q.onnx"),
    };
    let source = ranges(session, &args.ranges, &args.prepare)?;
    let emits = |emit: &Emit| args.emit.contains(emit);
    let (text, ranges, config, report) = (
        output.with_extension("qir"),
        output.with_extension("ranges.json"),
        output.with_extension("config.json"),
        output.with_extension("report.txt"),
    );
    let mut paths = Vec::new();
    if emits(&Emit::Onnx) {
        paths.extend(onnx_paths(&output));
    }
    if emits(&Emit::Qir) {
        paths.extend(qir_paths(&text));
    }
    paths.extend(emits(&Emit::Ranges).then(|| ranges.clone()));
    paths.extend(emits(&Emit::Config).then(|| config.clone()));
    paths.extend(emits(&Emit::Report).then(|| report.clone()));

    let mut steps = Vec::new();
    let after = &mut |step: &Step, _: &Graph| steps.push(step.clone());
    let prepare = Prepare {
        paths: &paths,
        strict: args.strict,
        measure: emits(&Emit::Report),
        ..Prepare::new(&args.model, &args.prepare, source)
    };
    let (outcome, mut outputs) = prepare.run(session, after)?;
    let summary = outcome.report.as_ref().map(ToString::to_string).unwrap_or_default();
    if emits(&Emit::Onnx) {
        outputs.onnx(session, &outcome.graph, &output)?;
    }
    if emits(&Emit::Qir) {
        outputs.qir(session, &outcome.graph, &text, "")?;
    }
    if emits(&Emit::Ranges) {
        outputs.write(&ranges, write_ranges(&outcome.ranges).as_bytes())?;
    }
    if emits(&Emit::Config) {
        outputs.write(&config, write_config(&outcome.layer_config).as_bytes())?;
    }
    if emits(&Emit::Report) {
        outputs.write(&report, summary.as_bytes())?;
    }
    say(summary.trim_end())?;
    if args.timing {
        say(timing(&steps))?;
    }
    Ok(outputs.finish()?)
}

pub fn calibrate(session: &mut Session, args: &CalibrateArgs) -> Result<(), End> {
    let source = samples(&args.prepare);
    let paths = [args.output.clone()];
    let prepare = Prepare {
        paths: &paths,
        until: Some("calibrate"),
        ..Prepare::new(&args.model, &args.prepare, source)
    };
    let (outcome, mut outputs) = prepare.run(session, &mut |_, _| {})?;
    let ranges = ranges_of(&outcome.graph);
    outputs.write(&args.output, write_ranges(&ranges).as_bytes())?;
    say(format!("{} values have a range", ranges.len()))?;
    Ok(outputs.finish()?)
}

fn samples(args: &PrepareArgs) -> Source {
    if args.samples.is_empty() {
        Source::Random { seed: args.seed }
    } else {
        Source::Files(args.samples.clone())
    }
}

/// Where ranges come from, where they may come from a file.
pub fn ranges(session: &mut Session, ranges: &RangesArg, args: &PrepareArgs) -> Result<Source, Diagnostics> {
    let Some(path) = &ranges.file else { return Ok(samples(args)) };
    let (text, _) = read_text(session, path)?;
    let file = path.display().to_string();
    Ok(Source::Ranges { ranges: read_ranges(&text, &file)?, file })
}

/// A run of the pipeline of compile.
pub struct Prepare<'a> {
    pub model: &'a ModelArgs,
    pub args: &'a PrepareArgs,
    pub source: Source,
    /// The outputs, which are declared before the run.
    pub paths: &'a [PathBuf],
    /// The last pass to run.
    pub until: Option<&'a str>,
    /// What the device's tools do not take is an error.
    pub strict: bool,
    /// The report says how far values are from the float ones.
    pub measure: bool,
    /// Rulesets besides those of the arguments, which follow them.
    pub rules: Vec<Ruleset>,
    /// Takes what explanations need; each sample then runs by itself, to be told from the others.
    pub trace: Option<&'a mut Trace>,
}

impl<'a> Prepare<'a> {
    pub fn new(model: &'a ModelArgs, args: &'a PrepareArgs, source: Source) -> Self {
        Self {
            model,
            args,
            source,
            paths: &[],
            until: None,
            strict: false,
            measure: false,
            rules: Vec::new(),
            trace: None,
        }
    }

    pub fn run(
        self,
        session: &mut Session,
        after: &mut dyn FnMut(&Step, &Graph),
    ) -> Result<(Outcome, Outputs), End> {
        let Self { model, args, source, paths, until, strict, measure, mut rules, trace } = self;
        args.samples.iter().for_each(|file| session.reads(file));
        let row = match &source {
            Source::Files(files) => files.first().map(|file| SampleFiles::row_sizes(file)).transpose(),
            Source::None | Source::Random { .. } | Source::Ranges { .. } => Ok(None),
        };
        let row = row.map_err(|error| Diagnostics::from(WithPlaces::new(error)))?;
        let (graph, user_rules) = read_model(session, model, InputShapes { row, ..InputShapes::default() })?;
        rules.extend(user_rules);
        let outputs = Outputs::declare(session, paths, InPlace::Never)?;
        let fixed_point = super::options::fixed_point(session, args)?;
        let calls = pipeline(session, args.pipeline())?;
        let bar = progress_bar();
        let compile = Compile {
            source,
            input_shapes: model.input_shape.clone(),
            calibrate: CalibrateOptions {
                per_tensor: args.per_tensor_activations,
                batch_size: if trace.is_some() { 1 } else { args.batch_size.get() },
                num_samples: args.num_samples.map(|n| n.get()),
            },
            akida: AkidaOptions {
                input_dtype: args.input_dtype.into(),
                last_output_8_bits: args.last_output_bits.is_some(),
                until: args.quantize_until.clone(),
            },
            fixed_point,
            strict,
            measure,
            user_rules: &rules,
            sources: &mut session.sources,
            progress: Box::new(|done, of| {
                bar.set_length(of as u64);
                bar.set_position(done as u64);
            }),
            trace,
        };
        let result = pass::compile(graph, &session.registry, &calls, compile, until, after);
        bar.finish_and_clear();
        let outcome = result.map_err(|failure| bug(session, failure, &model.model))?;
        session.report(&outcome.warnings);
        Ok((outcome, outputs))
    }
}

fn progress_bar() -> ProgressBar {
    // Hidden where stderr is no terminal.
    let style = ProgressStyle::with_template("calibrating {bar:40} {pos}/{len} samples, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn pipeline(session: &mut Session, text: &str) -> Result<Vec<crate::syntax::pipeline::PassCall>, End> {
    let text = pass::named_pipeline(text).unwrap_or(text);
    let id = session.sources.add("pipeline", text);
    let id = id.ok_or_else(|| End::Usage("the pipeline is too long".to_owned()))?;
    Ok(crate::syntax::pipeline::parse(text, id)?.0)
}

/// A pass that broke its graph leaves a file that reproduces it.
fn bug(session: &Session, failure: Failure, model: &Path) -> End {
    match failure {
        Failure::Input(found) => End::Input(found),
        Failure::Bug { mut found, before, pass } => {
            let path = PathBuf::from(model.file_name().unwrap_or_default()).with_extension("reproducer.qir");
            let comment = format!("// run: qirc opt {} -p '{pass}'\n", path.display());
            let written =
                Outputs::declare(session, &qir_paths(&path), InPlace::Never).and_then(|mut outputs| {
                    outputs.qir(session, &before, &path, &comment)?;
                    Ok(outputs.finish()?)
                });
            match written {
                Ok(()) => found.push(Diagnostic::error("Q0706", format!("{} reproduces it", path.display()))),
                Err(End::Input(errors) | End::Bug(errors)) => found.extend(errors),
                Err(End::Usage(why)) => found.push(Diagnostic::error("Q0706", why)),
            }
            End::Bug(found)
        }
    }
}

pub fn import(session: &mut Session, args: &ImportArgs) -> Result<(), End> {
    let (graph, _) = read_model(session, &args.model, InputShapes::default())?;
    let mut outputs = Outputs::declare(session, &qir_paths(&args.output), InPlace::Never)?;
    outputs.qir(session, &graph, &args.output, "")?;
    Ok(outputs.finish()?)
}

/// A network, and the tensors of its inputs, whose sizes it may take.
pub fn read_network(
    session: &mut Session,
    model: &ModelArgs,
    inputs: &[(String, PathBuf)],
) -> Result<(Graph, BTreeMap<String, Tensor>), End> {
    let mut feeds = BTreeMap::new();
    for (name, path) in inputs {
        if feeds.insert(name.clone(), read_tensor(session, path)?).is_some() {
            return Err(End::Usage(format!("input `{name}` is given twice")));
        }
    }
    let row = |tensor: &Tensor| tensor.sizes().split_first().map(|(_, row)| row.to_vec());
    let rows = feeds.iter().filter_map(|(name, tensor)| Some((name.clone(), row(tensor)?))).collect();
    // Lists and numbers; networks compute with larger ones.
    let list = |tensor: &Tensor| tensor.sizes().len() <= 1;
    let values = feeds.iter().filter(|(_, tensor)| list(tensor));
    let values = values.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    let shapes = InputShapes { rows, values, ..InputShapes::default() };
    let (graph, _) = read_model(session, model, shapes)?;
    Ok((graph, feeds))
}

pub fn run(session: &mut Session, args: &RunArgs) -> Result<(), End> {
    let (graph, feeds) = read_network(session, &args.model, &args.input)?;
    let arithmetic = match args.arithmetic {
        ArithmeticArg::Exact => Arithmetic::Exact,
        ArithmeticArg::F32 => Arithmetic::F32,
    };
    let plan = Plan::new(&graph, &session.registry, arithmetic).map_err(Diagnostics::from)?;
    let inner: Vec<ValueId> = graph.values().filter(|&id| args.all_values && !graph.is_output(id)).collect();
    let names = inner.iter().map(|&id| &*graph.value(id).name);
    let names = names.chain(graph.outputs().iter().map(|output| &*output.name));
    let positions: BTreeMap<ValueId, usize> = inner.iter().copied().zip(0..).collect();
    let mut files = ValueFiles::new(session, &args.output_dir, names)?;
    let mut failed: Result<(), Diagnostics> = Ok(());
    let outputs = if args.all_values || plan.has_state() {
        plan.run_frames(&feeds, &mut |id, tensor| {
            if let Some(&position) = positions.get(&id).filter(|_| failed.is_ok()) {
                failed = files.add(position, graph.ty(id), tensor);
            }
        })
    } else {
        plan.outputs(&feeds)
    };
    let outputs = outputs.map_err(Diagnostics::from)?;
    failed?;
    for (position, (output, tensor)) in (inner.len()..).zip(graph.outputs().iter().zip(&outputs)) {
        files.add(position, graph.ty(output.value), tensor)?;
        say(format!("{}: {}{:?}", printable(&output.name), tensor.dtype(), tensor.sizes()))?;
    }
    files.index()?;
    Ok(files.finish()?)
}

pub fn opt(session: &mut Session, args: &OptArgs) -> Result<(), End> {
    let (graph, user_rules) = read_model(session, &args.model, InputShapes::default())?;
    let calls = pipeline(session, &args.pipeline)?;
    if let Some(pass) = args.print_after.as_deref()
        && !matches!(pass, "all" | "change")
        && !calls.iter().any(|call| call.name == pass)
    {
        let names: Vec<&str> = calls.iter().map(|call| &*call.name).collect();
        let names = names.join(", ");
        return Err(End::Usage(format!("--print-after takes all, change or a pass of {names}, not {pass}")));
    }
    let mut outputs = match &args.output {
        Some(output) => {
            let in_place =
                if is_in_place(&args.model.model, output) { InPlace::Model } else { InPlace::Never };
            let outputs = if is_onnx(output) {
                Outputs::declare(session, &onnx_paths(output), InPlace::Never)?
            } else {
                Outputs::declare(session, &qir_paths(output), in_place)?
            };
            Some((output, outputs))
        }
        None => None,
    };
    let mut steps = Vec::new();
    let mut said = Ok(());
    let registry = &session.registry;
    let mut after = |step: &Step, graph: &Graph| {
        let name = step.pass.split('{').next().unwrap_or_default();
        let shown = match args.print_after.as_deref() {
            Some("all") => true,
            Some("change") => step.changed,
            Some(pass) => pass == name,
            None => false,
        };
        if shown && said.is_ok() {
            let printed = qir::print(graph, registry, UNWRITTEN);
            let comment = if printed.tensors.is_empty() { "" } else { UNWRITTEN_COMMENT };
            said = say(format!("// after {}\n{comment}{}", step.pass, printed.qir));
        }
        steps.push(step.clone());
    };
    let compile = Compile::with_rules(&user_rules, &mut session.sources);
    let outcome = pass::compile(graph, registry, &calls, compile, None, &mut after);
    let outcome = outcome.map_err(|failure| bug(session, failure, &args.model.model))?;
    said?;
    session.report(&outcome.warnings);
    match &mut outputs {
        Some((path, outputs)) if is_onnx(path) => outputs.onnx(session, &outcome.graph, path)?,
        Some((path, outputs)) => outputs.qir(session, &outcome.graph, path, "")?,
        None => say(qir::print_whole(&outcome.graph, &session.registry).trim_end())?,
    }
    if args.timing {
        say(timing(&steps))?;
    }
    match outputs {
        Some((_, outputs)) => Ok(outputs.finish()?),
        None => Ok(()),
    }
}

/// The data file of texts that are only to be looked at.
const UNWRITTEN: &str = "unwritten.safetensors";
const UNWRITTEN_COMMENT: &str = "// the data in unwritten.safetensors is not written\n";

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

/// Whether the output is the model itself. A link is another thing: its data lies elsewhere.
fn is_in_place(model: &Path, output: &Path) -> bool {
    let same = fs::canonicalize(model).ok().is_some_and(|model| fs::canonicalize(output).ok() == Some(model));
    same && !model.is_symlink() && !output.is_symlink()
}

fn timing(steps: &[Step]) -> String {
    let width = steps.iter().map(|step| step.pass.len()).max().unwrap_or(0).max("verify".len());
    let row = |name: &str, time: std::time::Duration| {
        format!("{name:width$} {:>10.3} ms", time.as_secs_f64() * 1e3)
    };
    let mut rows: Vec<String> = steps.iter().map(|step| row(&step.pass, step.time)).collect();
    rows.push(row("verify", steps.iter().map(|step| step.verify).sum()));
    rows.join("\n")
}

pub fn check(session: &mut Session, args: &CheckArgs) -> Result<(), End> {
    let (graph, _) = read_model(session, &args.model, InputShapes::default())?;
    let (layers, mut found) = check_layers(&graph, &session.registry);
    found.extend(check_fixed_point(&graph, &session.registry));
    if !layers.is_empty() {
        let limits = device_limits(&graph, &session.registry);
        found.extend(if args.strict { limits.as_errors() } else { limits });
    }
    if layers.is_empty() {
        say(format!("{} nodes, no hardware layer; the graph is valid", graph.len()))?;
    } else {
        say(bounds_table(&layers).trim_end())?;
    }
    session.report(&found);
    if found.has_errors() { Err(End::Input(Diagnostics::default())) } else { Ok(()) }
}

pub fn fmt(session: &mut Session, args: &FmtArgs) -> Result<(), End> {
    let mut found = Diagnostics::default();
    for path in &args.files {
        if let Err(errors) = fmt_file(session, path, args.check) {
            found.extend(errors);
        }
    }
    if found.has_errors() { Err(found.into()) } else { Ok(()) }
}

fn fmt_file(session: &mut Session, path: &Path, check: bool) -> Result<(), Diagnostics> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("qir") => qir::format,
        Some("qrules") => rules::format,
        _ => {
            let message = format!("{} is neither .qir nor .qrules", path.display());
            return Err(Diagnostic::error("Q0811", message).into());
        }
    };
    let (text, id) = read_text(session, path)?;
    let formatted = format(&text, id)?;
    if formatted == text {
        Ok(())
    } else if check {
        Err(Diagnostic::error("Q0812", format!("{} is not laid out", path.display())).into())
    } else {
        replace(path, formatted.as_bytes())
    }
}

pub fn test(args: &TestArgs) -> Result<(), End> {
    let summary = golden::test(&args.paths, args.bless, &mut |fault| say(fault))?;
    let golden::Summary { passed, failed, blessed } = summary;
    let written = if blessed > 0 { format!(", {blessed} blessed") } else { String::new() };
    say(format!("{passed} passed, {failed} failed{written}"))?;
    if failed == 0 { Ok(()) } else { Err(End::Input(Diagnostics::default())) }
}
