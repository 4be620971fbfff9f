//! Commands that explain.

use super::args::{ExplainArgs, ModelArgs, RulesExplainArgs};
use super::commands::{Prepare, ranges};
use super::files::read_rules;
use super::session::{End, Session, say};
use crate::diag::Diagnostics;
use crate::pass::{Explain, Trace, explain_rules};

/// Explains a whole network, or one value of it. Where the network cannot be quantized, says why not
/// before it fails.
pub fn explain(session: &mut Session, args: &ExplainArgs) -> Result<(), End> {
    let source = ranges(session, &args.ranges, &args.prepare)?;
    let mut trace = Trace::default();
    let prepare = Prepare { trace: Some(&mut trace), ..Prepare::new(&args.model, &args.prepare, source) };
    let result = prepare.run(session, &mut |_, _| {});
    let explain = Explain {
        trace: &trace,
        outcome: result.as_ref().ok().map(|(outcome, _)| outcome),
        registry: &session.registry,
        sources: &session.sources,
        until: args.prepare.quantize_until.as_deref(),
    };
    let text = match &args.value {
        // A run that failed before `quantize` has nothing to tell.
        _ if result.is_err() && trace.stays.is_empty() => String::new(),
        None => explain.whole(),
        Some(name) => explain.value(name)?,
    };
    tell(&text)?;
    match result {
        Ok(_) => Ok(()),
        Err(End::Input(mut found)) => {
            // The text said them.
            let said = found.0.iter_mut().filter(|finding| finding.code == "Q0611");
            said.for_each(|finding| finding.notes.clear());
            Err(End::Input(found))
        }
        Err(end) => Err(end),
    }
}

/// Explains where the rules of a file fire on a network.
pub fn explain_file(session: &mut Session, args: &RulesExplainArgs) -> Result<(), End> {
    let source = ranges(session, &args.ranges, &args.prepare)?;
    let sets = read_rules(session, std::slice::from_ref(&args.file))?.sets;
    let model = ModelArgs {
        model: args.on.clone(),
        input_shape: args.input_shape.clone(),
        rules: args.rules.clone(),
    };
    let layers = sets.iter().any(|set| set.makes_layers(&session.registry));
    let mut trace = Trace::default();
    let prepare = Prepare {
        // Only layers need ranges.
        until: (!layers).then_some("user-rules"),
        rules: sets.clone(),
        trace: Some(&mut trace),
        ..Prepare::new(&model, &args.prepare, source)
    };
    let result = prepare.run(session, &mut |_, _| {});
    let explain = Explain {
        trace: &trace,
        outcome: result.as_ref().ok().map(|(outcome, _)| outcome),
        registry: &session.registry,
        sources: &session.sources,
        until: args.prepare.quantize_until.as_deref(),
    };
    if !trace.passes.is_empty() {
        tell(&explain_rules(&explain, &sets))?;
    }
    result.map(|_| ())
}

fn tell(text: &str) -> Result<(), Diagnostics> {
    if text.is_empty() { Ok(()) } else { say(text.trim_end()) }
}
