//! One function a command.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{
    ArithmeticArg, CalibrateArgs, CheckArgs, CompileArgs, Emit, FmtArgs, ImportArgs, OptArgs, PrepareArgs,
    RunArgs, TestArgs,
};
use super::files::{ValueFiles, read_model, read_rules, read_tensor, read_text, write, write_qir};
use super::golden;
use super::session::{End, Session};
use crate::diag::{Diagnostic, Diagnostics, WithPlaces};
use crate::interp::Plan;
use crate::ir::Graph;
use crate::onnx::{self, InputShapes};
use crate::ops::Arithmetic;
use crate::pass::{self, Compile, Failure, Outcome, Source, Step};
use crate::quant::{
    AkidaOptions, CalibrateOptions, SampleFiles, bounds_table, check_layers, ranges_of, read_ranges,
    write_ranges,
};
use crate::syntax::{qir, rules};
use crate::tensor::Tensor;

/// Prints to stdout; a reader that has left is no error.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

pub fn compile(session: &mut Session, args: &CompileArgs) -> Result<(), End> {
    let output = match &args.output {
        Some(output) => output.clone(),
        None => {
            PathBuf::from(args.prepare.model.model.file_name().unwrap_or_default()).with_extension("q.onnx")
        }
    };
    if args.emit.contains(&Emit::Onnx) && output.extension().is_none_or(|extension| extension != "onnx") {
        let message = "is not called .onnx; --emit qir writes the text of OUT.onnx to OUT.qir";
        return Err(End::Usage(format!("the output {} {message}", output.display())));
    }
    let source = match &args.ranges {
        None => samples(&args.prepare),
        Some(path) => {
            let (text, _) = read_text(session, path)?;
            let file = path.display().to_string();
            Source::Ranges { ranges: read_ranges(&text, &file)?, file }
        }
    };
    let mut steps = Vec::new();
    let outcome = prepare(session, &args.prepare, source, None, &mut |step, _| steps.push(step.clone()))?;
    let graph = &outcome.graph;
    let report = outcome.report.as_ref().map(ToString::to_string).unwrap_or_default();
    for emit in &args.emit {
        match emit {
            Emit::Onnx => onnx::export(&output, graph, &session.registry)?,
            Emit::Qir => write_qir(session, graph, &output.with_extension("qir"), "")?,
            Emit::Ranges => {
                write(&output.with_extension("ranges.json"), write_ranges(&outcome.ranges).as_bytes())?;
            }
            Emit::Report => write(&output.with_extension("report.txt"), report.as_bytes())?,
        }
    }
    say(report.trim_end());
    if args.timing {
        say(timing(&steps));
    }
    Ok(())
}

pub fn calibrate(session: &mut Session, args: &CalibrateArgs) -> Result<(), End> {
    let source = samples(&args.prepare);
    let outcome = prepare(session, &args.prepare, source, Some("calibrate"), &mut |_, _| {})?;
    write(&args.output, write_ranges(&ranges_of(&outcome.graph)).as_bytes())?;
    say(format!("{} values have a range", ranges_of(&outcome.graph).len()));
    Ok(())
}

fn samples(args: &PrepareArgs) -> Source {
    if args.samples.is_empty() {
        Source::Random { seed: args.seed }
    } else {
        Source::Files(args.samples.clone())
    }
}

/// Runs the pipeline of compile up to and including pass `until`.
fn prepare(
    session: &mut Session,
    args: &PrepareArgs,
    source: Source,
    until: Option<&str>,
    after: &mut dyn FnMut(&Step, &Graph),
) -> Result<Outcome, End> {
    let row = match &source {
        Source::Files(files) => files.first().map(|file| SampleFiles::row_sizes(file)).transpose(),
        Source::None | Source::Random { .. } | Source::Ranges { .. } => Ok(None),
    };
    let row = row.map_err(|error| Diagnostics::from(WithPlaces::new(error)))?;
    let graph = read_model(session, &args.model, InputShapes { row, ..InputShapes::default() })?;
    let user_rules = read_rules(session, &args.rules)?;
    let calls = pipeline(session, &args.pipeline)?;
    let bar = progress_bar();
    let compile = Compile {
        source,
        input_shapes: args.model.input_shape.clone(),
        calibrate: CalibrateOptions {
            per_tensor: args.per_tensor_activations,
            batch_size: args.batch_size.get(),
            num_samples: args.num_samples.map(|n| n.get()),
        },
        akida: AkidaOptions {
            input_dtype: args.input_dtype.into(),
            last_output_8_bits: args.last_output_bits.is_some(),
            until: args.quantize_until.clone(),
        },
        user_rules: &user_rules,
        sources: &mut session.sources,
        progress: Box::new(|done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }),
    };
    let result = pass::compile(graph, &session.registry, &calls, compile, until, after);
    bar.finish_and_clear();
    let outcome = result.map_err(|failure| bug(session, failure, &args.model.model))?;
    session.report(&outcome.warnings);
    Ok(outcome)
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
            let written = write_qir(session, &before, &path, &comment);
            match written {
                Ok(()) => found.push(Diagnostic::error("Q0706", format!("{} reproduces it", path.display()))),
                Err(errors) => found.extend(errors),
            }
            End::Bug(found)
        }
    }
}

pub fn import(session: &mut Session, args: &ImportArgs) -> Result<(), End> {
    let graph = read_model(session, &args.model, InputShapes::default())?;
    Ok(write_qir(session, &graph, &args.output, "")?)
}

pub fn run(session: &mut Session, args: &RunArgs) -> Result<(), End> {
    let mut feeds = BTreeMap::new();
    for (name, path) in &args.input {
        if feeds.insert(name.clone(), read_tensor(path)?).is_some() {
            return Err(End::Usage(format!("input `{name}` is given twice")));
        }
    }
    let row = |tensor: &Tensor| tensor.sizes().split_first().map(|(_, row)| row.to_vec());
    let rows = feeds.iter().filter_map(|(name, tensor)| Some((name.clone(), row(tensor)?))).collect();
    let graph = read_model(session, &args.model, InputShapes { rows, ..InputShapes::default() })?;
    let arithmetic = match args.arithmetic {
        ArithmeticArg::Exact => Arithmetic::Exact,
        ArithmeticArg::F32 => Arithmetic::F32,
    };
    let plan = Plan::new(&graph, &session.registry, arithmetic).map_err(Diagnostics::from)?;
    let mut files = ValueFiles::new(&args.output_dir);
    let mut failed: Result<(), Diagnostics> = Ok(());
    let outputs = plan.run(&feeds, &mut |id, tensor| {
        if args.all_values && failed.is_ok() && !graph.is_output(id) {
            let value = graph.value(id);
            failed = files.add(&value.name, &value.ty, tensor);
        }
    });
    let outputs = outputs.map_err(Diagnostics::from)?;
    failed?;
    for (output, tensor) in graph.outputs().iter().zip(&outputs) {
        files.add(&output.name, graph.ty(output.value), tensor)?;
        say(format!("{}: {}{:?}", output.name, tensor.dtype(), tensor.sizes()));
    }
    Ok(files.finish()?)
}

pub fn opt(session: &mut Session, args: &OptArgs) -> Result<(), End> {
    let graph = read_model(session, &args.model, InputShapes::default())?;
    let user_rules = read_rules(session, &args.rules)?;
    let calls = pipeline(session, &args.pipeline)?;
    if let Some(pass) = args.print_after.as_deref()
        && !matches!(pass, "all" | "change")
        && !calls.iter().any(|call| call.name == pass)
    {
        let names: Vec<&str> = calls.iter().map(|call| &*call.name).collect();
        let names = names.join(", ");
        return Err(End::Usage(format!("--print-after takes all, change or a pass of {names}, not {pass}")));
    }
    let mut steps = Vec::new();
    let registry = &session.registry;
    let mut after = |step: &Step, graph: &Graph| {
        let name = step.pass.split('{').next().unwrap_or_default();
        let shown = match args.print_after.as_deref() {
            Some("all") => true,
            Some("change") => step.changed,
            Some(pass) => pass == name,
            None => false,
        };
        if shown {
            say(format!(
                "// after {}\n{}",
                step.pass,
                qir::print(graph, registry, "weights.safetensors").qir
            ));
        }
        steps.push(step.clone());
    };
    let compile = Compile::with_rules(&user_rules, &mut session.sources);
    let outcome = pass::compile(graph, registry, &calls, compile, None, &mut after);
    let outcome = outcome.map_err(|failure| bug(session, failure, &args.model.model))?;
    session.report(&outcome.warnings);
    match &args.output {
        Some(output) => write_qir(session, &outcome.graph, output, "")?,
        None => say(qir::print(&outcome.graph, &session.registry, "weights.safetensors").qir.trim_end()),
    }
    if args.timing {
        say(timing(&steps));
    }
    Ok(())
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
    let graph = read_model(session, &args.model, InputShapes::default())?;
    let (layers, found) = check_layers(&graph, &session.registry);
    if layers.is_empty() {
        say(format!("{} nodes, no hardware layer; the graph is valid", graph.len()));
    } else {
        say(bounds_table(&layers).trim_end());
    }
    session.report(&found);
    if found.has_errors() { Err(End::Input(Diagnostics::default())) } else { Ok(()) }
}

pub fn fmt(session: &mut Session, args: &FmtArgs) -> Result<(), End> {
    let mut found = Diagnostics::default();
    for path in &args.files {
        let (text, id) = read_text(session, path)?;
        let formatted = match path.extension().and_then(|extension| extension.to_str()) {
            Some("qir") => qir::format(&text, id),
            Some("qrules") => rules::format(&text, id),
            _ => {
                Err(Diagnostic::error("Q0811", format!("{} is neither .qir nor .qrules", path.display()))
                    .into())
            }
        };
        match formatted {
            Err(errors) => found.extend(errors),
            Ok(formatted) if formatted == text => {}
            Ok(_) if args.check => {
                found.push(Diagnostic::error("Q0812", format!("{} is not laid out", path.display())));
            }
            Ok(formatted) => write(path, formatted.as_bytes())?,
        }
    }
    if found.has_errors() { Err(found.into()) } else { Ok(()) }
}

pub fn test(args: &TestArgs) -> Result<(), End> {
    let summary = golden::test(&args.paths, args.bless, &mut |fault| say(fault))?;
    let golden::Summary { passed, failed, blessed } = summary;
    let written = if blessed > 0 { format!(", {blessed} blessed") } else { String::new() };
    say(format!("{passed} passed, {failed} failed{written}"));
    if failed == 0 { Ok(()) } else { Err(End::Input(Diagnostics::default())) }
}
