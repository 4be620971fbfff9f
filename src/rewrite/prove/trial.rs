//! One instance put to the test.

use std::collections::BTreeMap;

use super::super::cost::Cost;
use super::super::matcher::Broken;
use super::super::rule::{Contract, Rule};
use super::compare::{Difference, Ran, Sides};
use super::instance::{Before, Instance};
use super::sheet::{Sheet, Tried};
use crate::interp::Plan as Run;
use crate::ir::{Graph, ValueId};
use crate::ops::{Arithmetic, Registry};
use crate::tensor::{Tensor, TensorType};

/// What is wrong with a rule on one instance.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The sides differ.
    Differs(Difference),
    /// The right side can be built, but not run.
    Fails(String),
    /// The right side cannot be built, or is of another type.
    Broken(String),
}

/// What a run without a fault shows.
pub enum Seen {
    /// The left side cannot be run.
    Nothing,
    /// Its results are numbers nowhere.
    Undefined,
    /// The largest difference, relative to the largest number.
    Equal(f64),
}

/// How both sides compare by cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worse {
    /// The left side costs something: not all of it is constant.
    pub priced: bool,
    /// The right side costs more.
    pub alone: bool,
    /// It does where this value of the left side is read by someone else, too (position among the
    /// matched nodes other than the root): what makes it stays, and its work is done twice.
    pub shared: Option<usize>,
}

/// An instance that the matcher confirmed, with both sides.
pub struct Trial {
    pub sides: Result<Sides, Fault>,
    pub feeds: BTreeMap<String, Tensor>,
    pub worse: Worse,
    /// The left side alone.
    pub before: Graph,
}

/// What the rule makes of an instance.
pub enum Outcome {
    /// The left side does not match: the instance is of no use.
    Unfit,
    /// The right side has no value, or of a custom pattern cannot be made, in words: the rule does
    /// not apply.
    Quiet(Option<String>),
    Applies(Box<Trial>),
}

pub fn trial(
    rule: &Rule,
    contract: Contract,
    rounds: bool,
    instance: &Instance,
    registry: &Registry,
) -> Outcome {
    let Some(Before { graph, root, inner, feeds }) = instance.graph() else { return Outcome::Unfit };
    let mut sheet = Sheet::new(graph.clone(), registry);
    let left: Vec<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
    let built = sheet.apply(rule, root);
    let (sides, worse) = match built {
        Tried::NoMatch => return Outcome::Unfit,
        Tried::Quiet => return Outcome::Quiet(None),
        // Of a custom pattern the next right side is tried, and the user is told.
        Tried::Broken(broken @ Broken::Op(_)) if rule.custom => return Outcome::Quiet(Some(words(&broken))),
        Tried::Broken(broken) => (Err(Fault::Broken(words(&broken))), Worse::default()),
        Tried::Built(right) => {
            let worse = worse(rule, &sheet, &graph, (&left, &right), &inner, registry);
            for (at, &value) in right.iter().enumerate() {
                let name = if right.len() == 1 { "right".to_owned() } else { format!("right_{at}") };
                if !graph.contains(value.node) {
                    sheet.graph.take_name(value, &name);
                }
                sheet.graph.add_output(name, value);
            }
            sheet.graph.remove_dead();
            (Ok(Sides::new(sheet.graph, contract, rounds, registry)), worse)
        }
    };
    Outcome::Applies(Box::new(Trial { sides, feeds, worse, before: graph }))
}

impl Trial {
    /// The fault that shows on these inputs.
    pub fn fault(&self, feeds: &BTreeMap<String, Tensor>, registry: &Registry) -> Result<Seen, Fault> {
        let fault = match &self.sides {
            Err(fault) => fault.clone(),
            Ok(sides) => match sides.run(feeds, registry) {
                Ran::Undefined => return Ok(Seen::Undefined),
                Ran::Equal(worst) => return Ok(Seen::Equal(worst)),
                Ran::Differs(difference) => return Err(Fault::Differs(difference)),
                Ran::Fails(why) => Fault::Fails(why),
            },
        };
        // A left side that cannot be run says nothing.
        let left = Run::new(&self.before, registry, Arithmetic::Exact)
            .and_then(|run| run.run(feeds, &mut |_, _| {}));
        if left.is_ok() { Err(fault) } else { Ok(Seen::Nothing) }
    }
}

fn worse(
    rule: &Rule,
    sheet: &Sheet,
    before: &Graph,
    (left, right): (&[ValueId], &[ValueId]),
    inner: &[ValueId],
    registry: &Registry,
) -> Worse {
    // Ids of the graph before are those of the sheet.
    let alone = sheet.cost(right) > sheet.cost(left);
    let root = left.first().map(|value| value.node);
    let shared = inner.iter().position(|&value| {
        if alone {
            return false;
        }
        let cost = |side: &[ValueId]| {
            let read: Vec<ValueId> = side.iter().copied().chain([value]).collect();
            sheet.cost(&read)
        };
        let (with, without): (Cost, Cost) = (cost(right), cost(left));
        // The order looks at layers first; work that is done twice counts whatever they save.
        if with <= without && with.macs <= without.macs {
            return false;
        }
        // A condition of the rule may say that nobody else reads it.
        let mut read = before.clone();
        read.add_output("read", value);
        root.is_some_and(|root| !matches!(Sheet::new(read, registry).apply(rule, root), Tried::NoMatch))
    });
    Worse { priced: sheet.cost(left) > Cost::default(), alone, shared }
}

fn words(broken: &Broken) -> String {
    match broken {
        Broken::Op(error) => error.to_string(),
        Broken::Type { from, to } => {
            let ty = |ty: &TensorType| match (ty.grid.is_plain(), ty.grid.axis()) {
                (true, _) => format!("{}{}", ty.storage(), ty.shape),
                (false, Some(axis)) => format!("q<{}, axis {axis}, …>{}", ty.storage(), ty.shape),
                (false, None) => format!("q<{}, …>{}", ty.storage(), ty.shape),
            };
            format!("it would turn {} into {}", ty(from), ty(to))
        }
    }
}
