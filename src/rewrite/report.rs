//! The words for what the engines notice on the way.

use std::sync::Arc;

use super::log::Log;
use super::matcher::Broken;
use super::rule::{Rule, Ruleset};
use crate::diag::{Diagnostic, Loc};
use crate::tensor::TensorType;

/// The names of sets, for a message.
pub fn names(sets: &[&Ruleset]) -> String {
    sets.iter().map(|set| &*set.name).collect::<Vec<_>>().join(", ")
}

/// A rule whose two sides do not fit together at some node. It is not applied there. Of a custom pattern
/// the next right side is tried; where there is none, [`unmade`] says so.
pub fn broken(log: &mut Log, rule: &Rule, broken: &Broken, loc: Loc, value: impl FnOnce() -> Arc<str>) {
    if rule.custom {
        return;
    }
    let what = broken.to_string();
    log.warn(&rule.name, what.clone(), || {
        Diagnostic::warning(
            "Q0521",
            format!("rule `{}` cannot be applied to `{}`: {what}", rule.name, value()),
        )
        .at(rule.span, "")
        .at_loc(&loc, "")
        .note("a `where` condition should say where the rule holds")
    });
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ty = |ty: &TensorType| format!("{}{}", ty.storage(), ty.shape);
        match self {
            Broken::Op(error) => error.fmt(f),
            Broken::Type { from, to } => write!(f, "it would turn {} into {}", ty(from), ty(to)),
        }
    }
}

/// A custom pattern that fits, and none of whose right sides can be made there.
pub fn unmade(log: &mut Log, rule: &Rule, failed: &[String], loc: Loc, value: impl FnOnce() -> Arc<str>) {
    let value = value();
    log.warn(&rule.name, format!("unmade {value}"), || {
        let message = format!("custom pattern `{}` fits `{value}`, but nothing can be made of it", rule.name);
        let warning = Diagnostic::warning("Q0526", message).at(rule.span, "").at_loc(&loc, "");
        let one = failed.len() == 1;
        failed.iter().enumerate().fold(warning, |warning, (at, why)| {
            warning.note(if one { why.clone() } else { format!("right side {}: {why}", at + 1) })
        })
    });
}

/// A rule that matched but for a condition that is to be reported.
pub fn near_miss(
    log: &mut Log,
    rule: &Rule,
    guard: usize,
    why: Option<String>,
    loc: Loc,
    value: impl FnOnce() -> Arc<str>,
) {
    let Some(guard) = rule.guards.get(guard) else { return };
    let value = value();
    log.warn(&rule.name, &*value, || {
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        Diagnostic::warning("Q0522", format!("rule `{}` does not apply to `{value}`{why}", rule.name))
            .at(guard.span, "this does not hold")
            .at_loc(&loc, "")
    });
}
