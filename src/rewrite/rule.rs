//! Rules in the form the engines run: names resolved, every attribute of every operator decided.

use std::sync::Arc;

use super::expr::Expr;
use crate::diag::Span;
use crate::ir::Attr;
use crate::ops::Registry;

/// What the two sides of every rule of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contract {
    /// The same bits for all inputs.
    BitExact,
    /// Equal over the reals.
    Real,
    /// An approximation; never in the e-graph, since equality is transitive and error is not.
    Lossy,
}

/// The word of the rule language.
impl std::fmt::Display for Contract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Contract::BitExact => "bitexact",
            Contract::Real => "real",
            Contract::Lossy => "lossy",
        })
    }
}

/// How a set is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// All equal forms at once, the cheapest is taken.
    Saturate,
    /// Each rule wherever it matches, in file order, until none does.
    Greedy,
}

/// The word of the rule language.
impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Driver::Saturate => "saturate",
            Driver::Greedy => "greedy",
        })
    }
}

#[derive(Clone, Debug)]
pub struct Ruleset {
    pub name: Arc<str>,
    pub doc: String,
    pub contract: Contract,
    pub driver: Driver,
    pub rules: Vec<Rule>,
}

impl Ruleset {
    /// Whether some rule makes a hardware layer: the set then belongs to fusion.
    pub fn makes_layers(&self, registry: &Registry) -> bool {
        self.rules.iter().any(|rule| rule.makes_layer(registry))
    }
}

/// A variable of one rule, by position in [`Rule::slots`].
pub type Slot = usize;

#[derive(Clone, Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub doc: String,
    pub span: Span,
    /// A user's fusion: where it fits and nothing can be made of it, a warning says so.
    pub custom: bool,
    /// Position among the right sides of one custom pattern: where it matches, those with a smaller
    /// one were tried before.
    pub arm: usize,
    /// Whether the right side may be worse than the left by the cost order.
    pub expand: bool,
    /// Names of the variables; unnamed nested patterns have an empty one.
    pub slots: Vec<Arc<str>>,
    /// The left side, outermost operator first; each further one makes a value that an earlier
    /// one reads.
    pub steps: Vec<Step>,
    pub guards: Vec<Guard>,
    /// Values of the right side that have a name, made when first read.
    pub shared: Vec<(Slot, Template)>,
    pub right: Right,
}

impl Rule {
    /// Whether what it makes is a layer.
    pub fn makes_layer(&self, registry: &Registry) -> bool {
        let layer = |op: &str| registry.find(op).is_some_and(|entry| entry.schema.layer);
        let made = |value: &Template| matches!(value, Template::Op(node) if layer(&node.op));
        match &self.right {
            Right::Node(node) => layer(&node.op),
            Right::Values(values) => values.iter().any(made),
        }
    }
}

impl Rule {
    /// How many readings below the root each operator of the left side is, reading one of several
    /// results being two.
    pub fn levels(&self) -> Vec<usize> {
        let mut levels: Vec<usize> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let reads = |above: &Step| above.values().any(|slot| step.results.contains(&slot));
            // The root has no reader, every other step has one among those before it.
            let reader = self.steps.iter().take(levels.len()).position(reads);
            // One of several results is read from the node of them all.
            let down = if step.results.len() == 1 { 1 } else { 2 };
            levels.push(reader.and_then(|at| levels.get(at)).map_or(0, |level| level + down));
        }
        levels
    }

    /// How many readings below the root the left side looks: at the facts of what its lowest
    /// operators read.
    pub fn depth(&self) -> usize {
        1 + self.levels().into_iter().max().unwrap_or(0)
    }

    /// Whether some value is read in two places, so that two classes have to be one.
    pub fn joins(&self) -> bool {
        // Which of several results a value is shows only when all of them are compared.
        if self.steps.iter().skip(1).any(|step| step.results.len() != 1) {
            return true;
        }
        let mut slots: Vec<Slot> = self.steps.iter().flat_map(Step::values).collect();
        let count = slots.len();
        slots.sort_unstable();
        slots.dedup();
        slots.len() < count
    }
}

impl Step {
    /// The variables of its operands.
    fn values(&self) -> impl Iterator<Item = Slot> {
        self.operands.iter().filter_map(|operand| match operand {
            OperandPattern::Value(slot) | OperandPattern::Optional(slot) => Some(*slot),
            OperandPattern::Absent | OperandPattern::Number(_) | OperandPattern::Numbers(_) => None,
        })
    }
}

/// One operator of a left side.
#[derive(Clone, Debug)]
pub struct Step {
    pub op: Arc<str>,
    /// Variables of all results.
    pub results: Vec<Slot>,
    pub operands: Vec<OperandPattern>,
    /// Takes the operands that follow the listed ones.
    pub more: Option<Slot>,
    /// What every attribute of the operator's schema must be, save those in `rest`.
    pub attrs: Vec<(Arc<str>, AttrPattern)>,
    /// Takes the attributes that are not in `attrs`.
    pub rest: Option<Slot>,
    pub spans: StepSpans,
}

/// Where a pattern says what it wants.
#[derive(Clone, Debug)]
pub struct StepSpans {
    /// The operator's name.
    pub op: Span,
    /// As many as there are listed operands.
    pub operands: Vec<Span>,
    /// As many as there are attributes; the operator's name for those that are not written and must
    /// have their defaults.
    pub attrs: Vec<Span>,
}

#[derive(Clone, Debug)]
pub enum OperandPattern {
    Value(Slot),
    /// Present or not.
    Optional(Slot),
    Absent,
    /// A constant all of whose elements are this number.
    Number(f64),
    /// A constant vector of these elements.
    Numbers(Vec<f64>),
}

#[derive(Clone, Debug)]
pub enum AttrPattern {
    /// Present.
    Any,
    Bind(Slot),
    List(Vec<AttrPattern>),
    /// `None`: the attribute is absent.
    Equals(Option<Attr>),
}

/// A condition of the left side.
#[derive(Clone, Debug)]
pub struct Guard {
    pub condition: Condition,
    /// Position of the last step that binds something it reads.
    pub after: usize,
    pub span: Span,
    /// Report it where everything else of the left side matched.
    pub warn: bool,
}

#[derive(Clone, Debug)]
pub enum Condition {
    Holds(Expr),
    /// Binds, or quietly fails.
    Let(Slot, Expr),
    /// The value is read once; greedy driver only.
    SingleUse(Slot),
}

#[derive(Clone, Debug)]
pub enum Right {
    /// One value per result of the root.
    Values(Vec<Template>),
    /// A node with as many results as the root.
    Node(OpTemplate),
}

/// How a value of the right side comes about.
#[derive(Clone, Debug)]
pub enum Template {
    /// A value (or absence) bound on the left, or one of [`Rule::shared`].
    Slot(Slot),
    Absent,
    /// A constant from an expression: a tensor, or a number as an f32 or i64 scalar.
    Tensor(Expr),
    Op(OpTemplate),
    /// Operands bound by [`Step::more`]; only as an operand.
    More(Slot),
}

#[derive(Clone, Debug)]
pub struct OpTemplate {
    pub op: Arc<str>,
    pub operands: Vec<Template>,
    pub attrs: Vec<(Arc<str>, Expr)>,
    pub rest: Option<Splat>,
}

/// The attributes bound by `..rest`, poured into another operator.
#[derive(Clone, Debug)]
pub struct Splat {
    pub rest: Slot,
    pub keep: Vec<Arc<str>>,
    /// Attributes that the new operator lacks: each must have its default, else the rule does not
    /// apply.
    pub default: Vec<(Arc<str>, Option<Attr>)>,
}

impl Template {
    /// Calls `visit` for each variable read.
    pub fn slots(&self, visit: &mut dyn FnMut(Slot)) {
        match self {
            Template::Absent => {}
            Template::Slot(slot) | Template::More(slot) => visit(*slot),
            Template::Tensor(expr) => expr.slots(&mut |slot| visit(slot)),
            Template::Op(node) => {
                node.operands.iter().for_each(|operand| operand.slots(visit));
                node.attrs.iter().for_each(|(_, expr)| expr.slots(&mut |slot| visit(slot)));
                node.rest.iter().for_each(|rest| visit(rest.rest));
            }
        }
    }
}
