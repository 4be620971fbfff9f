//! What the engines did, as data.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::Record;
use super::rule::{Rule, Ruleset};
use crate::diag::{Diagnostic, Diagnostics, Loc, Span};

/// One application of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub ruleset: Arc<str>,
    pub rule: Arc<str>,
    /// Names of the nodes that matched, outermost first.
    pub matched: Vec<Arc<str>>,
    /// Names of the values that the outermost operator made, as they were called in the graph that
    /// entered the stage (empty for values that a rule made).
    pub replaced: Vec<Arc<str>>,
    /// Where the matched nodes come from.
    pub loc: Loc,
    /// Which right side of a custom pattern was taken.
    pub arm: usize,
}

/// An application that is not wanted: the parameters of the layer that it makes do not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub ruleset: Arc<str>,
    pub rule: Arc<str>,
    pub arm: usize,
    /// The value that the layer would make.
    pub value: Arc<str>,
    /// Why there are no parameters.
    pub why: String,
}

impl Refused {
    /// Whether it is about this rule of this set.
    pub(super) fn concerns(&self, set: &Ruleset, rule: &Rule) -> bool {
        self.ruleset == set.name && self.rule == rule.name && self.arm == rule.arm
    }
}

/// Values, by name, at which rules of some sets are not applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spared {
    /// Names of the sets.
    pub sets: BTreeSet<Arc<str>>,
    pub values: BTreeSet<Arc<str>>,
}

impl Spared {
    /// Whether a rule of the set is not to be applied at the value.
    pub(super) fn holds(&self, set: &Ruleset, value: &Arc<str>) -> bool {
        self.values.contains(value) && self.sets.contains(&set.name)
    }
}

/// A limit that ended a run before nothing was left to do; what was reached until then is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Iterations(usize),
    Nodes(usize),
    Applications(usize),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Iterations(n) => write!(f, "{n} iterations"),
            Limit::Nodes(n) => write!(f, "{n} e-nodes"),
            Limit::Applications(n) => write!(f, "{n} applications"),
        }
    }
}

/// The account of one or more runs.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The applications that the result rests on, in order.
    pub applied: Vec<Applied>,
    /// Rounds of saturation, of all runs.
    pub iterations: usize,
    /// Size of the largest e-graph.
    pub nodes: usize,
    /// Times that a rule was tried at a node.
    pub tried: usize,
    /// Steps of the choice among equal forms.
    pub steps: usize,
    /// If the options ask for it.
    pub record: Record,
    pub limit: Option<Limit>,
    /// Notes for the user: limits, rules that would have broken the graph, conditions to report.
    pub warnings: Diagnostics,
    warned: BTreeSet<(Arc<str>, String)>,
}

impl Log {
    /// Adds a warning about a rule unless it was given before.
    pub(super) fn warn(
        &mut self,
        rule: &Arc<str>,
        key: impl Into<String>,
        make: impl FnOnce() -> Diagnostic,
    ) {
        if self.warned.insert((rule.clone(), key.into())) {
            self.warnings.push(make());
        }
    }

    /// Notes the limit that ended a run. `work` is what each rule did, in the words of `unit`.
    pub(super) fn limit(
        &mut self,
        limit: Limit,
        ruleset: &str,
        work: impl IntoIterator<Item = (Arc<str>, Span, usize)>,
        unit: &str,
    ) {
        self.limit = Some(limit);
        let mut warning = Diagnostic::warning(
            "Q0520",
            format!("rules `{ruleset}` stopped at the limit of {limit}; the best form until then is used"),
        );
        let mut work: Vec<_> = work.into_iter().collect();
        let all: usize = work.iter().map(|(_, _, count)| count).sum();
        // Stable: of equals, the first in the file.
        work.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        let at_fault = work.iter().filter(|(_, _, count)| count * CULPRIT_SHARE >= all && *count > 0);
        for (rule, span, count) in at_fault.take(MOST_CULPRITS) {
            warning = warning.at(*span, format!("`{rule}` made {count} of {all} {unit}"));
        }
        self.warnings.push(warning);
    }
}

/// A rule that did one part in so many of a run's work is named when a limit ends it.
const CULPRIT_SHARE: usize = 10;
const MOST_CULPRITS: usize = 5;
