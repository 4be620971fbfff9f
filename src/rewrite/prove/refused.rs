//! What the search gave up for, so that a rule without instances can be told why.

use std::collections::BTreeMap;

use super::plan::Plan;
use crate::diag::Span;
use crate::ops::OpError;

/// Counts of what was not taken.
pub struct Refused {
    /// By position among the conditions.
    conditions: BTreeMap<usize, usize>,
    /// By step of the left side and what does not hold, with the first words for it.
    operators: BTreeMap<(usize, String), (usize, String)>,
    /// Nodes that were drawn, and how many may be.
    pub nodes: usize,
    pub most: usize,
}

impl Default for Refused {
    fn default() -> Self {
        Self { conditions: BTreeMap::new(), operators: BTreeMap::new(), nodes: 0, most: usize::MAX }
    }
}

impl Refused {
    pub fn condition(&mut self, at: usize) {
        *self.conditions.entry(at).or_default() += 1;
    }

    pub fn operator(&mut self, step: usize, error: &OpError) {
        // Words have numbers in them, and those differ.
        let what = match error {
            OpError::Constraint { label, .. } => (*label).to_owned(),
            OpError::Condition { condition, .. } => condition.clone(),
            _ => String::new(),
        };
        let entry = self.operators.entry((step, what)).or_insert_with(|| (0, error.to_string()));
        entry.0 += 1;
    }

    /// Where it is written, and in words, what was refused most often: a condition that never held, or
    /// else an operator.
    pub fn most(&self, plan: &Plan) -> Option<(Span, String)> {
        let condition = self.conditions.iter().max_by_key(|(at, count)| (**count, usize::MAX - **at));
        let operator = self.operators.iter().max_by_key(|(_, (count, _))| *count);
        let words = |(at, count): (&usize, &usize)| {
            let span = plan.spans.get(*at)?;
            Some((*span, format!("this did not hold, {count} times")))
        };
        let operators = |((step, _), (count, words)): (&(usize, String), &(usize, String))| {
            let span = plan.rule.steps.get(*step)?.spans.op;
            Some((span, format!("{words}, or the like {count} times")))
        };
        match (condition, operator) {
            // What operators refuse, another draw mends; what a condition refuses is meant.
            (Some(condition), Some(operator)) if *condition.1 * 4 < operator.1.0 => operators(operator),
            (Some(condition), _) => words(condition),
            (None, operator) => operator.and_then(operators),
        }
    }
}
