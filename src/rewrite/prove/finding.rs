//! What a check finds, and what it says of each rule.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::super::rule::Contract;
use super::compare::Difference;
use crate::diag::{Diagnostic, Report as Words};
use crate::tensor::DType;

#[derive(Clone, Debug, Error)]
pub enum CheckError {
    #[error("rule `{rule}` is not {contract}: where the left side is {left}, the right side is {right}", left = .at.left, right = .at.right)]
    Differs { rule: Arc<str>, contract: Contract, at: Difference },
    #[error("rule `{rule}` matches where its right side does not fit: {why}")]
    Broken { rule: Arc<str>, why: String },
    #[error("the right side of rule `{rule}` costs more than the left")]
    Worse { rule: Arc<str>, greedy: bool },
    #[error("rule `{rule}` does the work of `{value}` twice where something else reads it, too")]
    Shared { rule: Arc<str>, value: String },
    /// `unmade`: how often the left side fitted all the same, and why the right side could not be made.
    #[error("no instance of rule `{rule}` was found in {attempts} attempts: it is not tested")]
    Untested { rule: Arc<str>, attempts: usize, unmade: Option<(usize, Option<String>)> },
    #[error("{what} is never applied: {by} takes all that it matches")]
    Shadowed { what: String, by: String, seen: Option<usize> },
    #[error("the rules of `{set}` do not come to an end where `{rule}` matches")]
    Endless { set: Arc<str>, rule: Arc<str> },
    #[error("rule `{rule}` can never match: two of its conditions exclude each other")]
    Contradiction { rule: Arc<str> },
    #[error(
        "the left side of rule `{rule}` has a value that can be compared on none of {instances} instances: it is not tested"
    )]
    Undefined { rule: Arc<str>, instances: usize },
    #[error("layer `{layer}` has an integer form on none of the instances that were tried: {why}")]
    NoIntegers { layer: Arc<str>, why: String },
    #[error(
        "the integer form of layer `{layer}` is {:.0} % off on average: where the float form is {floats}, it stands for {integers}",
        .share * 100.0
    )]
    Far { layer: Arc<str>, floats: f64, integers: f64, share: f64 },
    #[error("no instance of a rule that makes layer `{layer}` was found: its integer form is not tested")]
    LayerUntested { layer: Arc<str> },
}

impl Words for CheckError {
    fn code(&self) -> &'static str {
        match self {
            CheckError::Differs { .. } => "Q0540",
            CheckError::Broken { .. } => "Q0541",
            CheckError::Worse { .. } => "Q0542",
            CheckError::Shared { .. } => "Q0543",
            CheckError::Untested { .. } => "Q0544",
            CheckError::Shadowed { .. } => "Q0545",
            CheckError::Endless { .. } => "Q0546",
            CheckError::Contradiction { .. } => "Q0547",
            CheckError::Undefined { .. } => "Q0548",
            CheckError::NoIntegers { .. } => "Q0549",
            CheckError::Far { .. } => "Q0555",
            CheckError::LayerUntested { .. } => "Q0556",
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            CheckError::Differs { at, .. } if at.bound > 0.0 => {
                return vec![
                    format!("a difference of {:e} would be rounding", at.bound),
                    "a `where` condition is missing, or the right side is another one".to_owned(),
                ];
            }
            CheckError::Differs { contract: Contract::BitExact, .. } => {
                "a `where` condition is missing, or the contract is `real`"
            }
            CheckError::Differs { .. } => "a `where` condition is missing, or the right side is another one",
            CheckError::Broken { .. } => "a `where` condition should say where the rule holds",
            CheckError::Worse { greedy: true, .. } => "write `expand` if it is worth it for what follows",
            CheckError::Worse { greedy: false, .. } => {
                "it is never taken for itself; write `expand` if it is worth it for what follows"
            }
            CheckError::Shared { .. } => {
                "name that value in the pattern (`y @ …`) and say `where single_use(y)`, or write `expand`"
            }
            CheckError::Untested { unmade: Some((count, why)), .. } => {
                let why = why.as_deref().unwrap_or("an expression or a condition of it has no value");
                return vec![format!(
                    "its left side fits {count} instances, but its right side can be made on none: {why}"
                )];
            }
            CheckError::Untested { .. } => {
                "what is marked stood in the way most often; does it contradict what else the left side wants?"
            }
            CheckError::Shadowed { seen: Some(instances), .. } => {
                return vec![format!(
                    "it took all {instances} instances that were tried; the special case goes first"
                )];
            }
            CheckError::Shadowed { seen: None, .. } => "the special case goes first; or remove it",
            CheckError::Endless { .. } => {
                "what a right side makes is matched again: a `where` condition should say when the work is done, or \
                 let the set be saturated"
            }
            CheckError::Contradiction { .. } => {
                "one of them is wrong; what holds in either case goes into two rules"
            }
            CheckError::Undefined { .. } => "is it NaN, infinite or undefined everywhere?",
            CheckError::NoIntegers { .. } => {
                "networks would keep the operators float wherever a rule makes it"
            }
            CheckError::Far { .. } => {
                "compare `params` and `integer` with `float`: the order of bounds, a scale, a sign, a parameter on \
                 another grid"
            }
            CheckError::LayerUntested { .. } => "is there a `custom_pattern` that makes it?",
        };
        vec![hint.to_owned()]
    }
}

/// Something wrong with a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    pub diagnostic: Diagnostic,
    /// Text of a `.qir` file that shows it.
    pub example: Option<String>,
}

/// What was tested of one rule, and found.
#[derive(Clone, Debug)]
pub struct RuleReport {
    pub ruleset: Arc<str>,
    pub rule: Arc<str>,
    pub contract: Contract,
    /// Instances that the matcher confirmed and that were run.
    pub instances: usize,
    /// Instances that the search came up with, and attempts that it needed.
    pub drawn: usize,
    pub attempts: usize,
    /// Where the right side has no value, so that the rule does not apply.
    pub quiet: usize,
    /// Instances where the left side is a finite number nowhere.
    pub undefined: usize,
    /// Storages of which every value (of 8 bits) or every corner (of others) was tried, in every
    /// combination.
    pub lattices: Vec<DType>,
    /// Largest difference, relative to the largest number on either side.
    pub worst: f64,
    pub findings: Vec<Finding>,
}

impl RuleReport {
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.diagnostic.severity == crate::diag::Severity::Error)
    }
}

/// One line.
impl fmt::Display for RuleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.has_errors(), self.findings.is_empty()) {
            (true, _) => "FAILED",
            (false, false) => "warned",
            (false, true) => "ok    ",
        };
        let plural = if self.instances == 1 { "" } else { "s" };
        write!(
            f,
            "{verdict} {}.{} {}, {} instance{plural} of {} drawn in {} attempts",
            self.ruleset, self.rule, self.contract, self.instances, self.drawn, self.attempts
        )?;
        if self.undefined > 0 {
            write!(f, ", {} without finite numbers", self.undefined)?;
        }
        if self.worst > 0.0 {
            write!(f, ", largest difference {:.0e}", self.worst)?;
        }
        let (all, corners): (Vec<DType>, Vec<DType>) =
            self.lattices.iter().partition(|dtype| matches!(dtype, DType::Bool | DType::I8 | DType::U8));
        for (what, dtypes) in [("all values", all), ("all corners", corners)] {
            let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
            if !names.is_empty() {
                write!(f, ", {what} of {}", names.join(" and "))?;
            }
        }
        Ok(())
    }
}
