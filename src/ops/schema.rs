//! What an operator's nodes look like.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Call, OpError};
use crate::ir::{Attr, AttrKind};
use crate::tensor::TensorType;

/// Whether an operand must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
    /// One or more; only as the last operand.
    Variadic,
}

#[derive(Clone, Debug)]
pub struct OperandSpec {
    pub name: Cow<'static, str>,
    pub presence: Presence,
}

/// What holds for an attribute that is not written.
#[derive(Clone, Debug, PartialEq)]
pub enum Default {
    Required,
    Value(Attr),
    /// The attribute may be absent, which means something of its own.
    Absent,
}

#[derive(Clone, Debug)]
pub struct AttrSpec {
    pub name: Cow<'static, str>,
    pub kind: AttrKind,
    pub default: Default,
}

/// What an operator knows of the frames before those that it reads.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The operand that it is; zeros where that is absent. Where it is given, the last result is the
    /// state that follows.
    pub operand: usize,
    /// Its type, by the other operands.
    pub ty: fn(&Call) -> Result<TensorType, OpError>,
}

/// How an operator's result relates to the mathematical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// No element is rounded: movement, comparison, integers.
    Exact,
    /// Each element may be rounded to the storage type.
    Rounding,
}

/// Name, operands, attributes and results of an operator, and its documentation.
#[derive(Clone, Debug)]
pub struct Schema {
    pub name: Cow<'static, str>,
    /// Markdown: what it computes (formula, shapes), then its constraints `C1`, `C2`, …
    pub doc: Cow<'static, str>,
    pub operands: Vec<OperandSpec>,
    pub attrs: Vec<AttrSpec>,
    /// Names of the results.
    pub results: Vec<Cow<'static, str>>,
    /// Whether the attributes or operands say how many results there are; those beyond the named
    /// ones are numbered.
    pub any_results: bool,
    /// Set where the first axis of the operands is time and what came before has a part in the results.
    pub state: Option<State>,
    /// The operand that no element of may be 0, which is known of a constant.
    pub divisor: Option<usize>,
    /// Whether all operands are stored alike, so that a number among them in a rule is, too.
    pub uniform: bool,
    pub accuracy: Accuracy,
    /// Whether it runs on the device; a device layer has a float and an integer form, told apart
    /// by the storage of its operands.
    pub layer: bool,
    /// Device layers that it counts as in the cost order; 0 for other operators.
    pub layers: u64,
    /// The rule file that declares it; `None` for a built-in operator.
    pub declared_in: Option<Arc<str>>,
    /// Whether the grid of its results is chosen, not inferred: a node may declare any grid of
    /// the inferred storage.
    pub assigns_grid: bool,
}

impl Schema {
    /// An exact operator with one result `y`; the methods below say otherwise.
    pub fn new(name: &'static str, doc: &'static str) -> Self {
        Self {
            name: name.into(),
            doc: doc.into(),
            operands: Vec::new(),
            attrs: Vec::new(),
            results: vec!["y".into()],
            any_results: false,
            state: None,
            divisor: None,
            uniform: false,
            accuracy: Accuracy::Exact,
            layer: false,
            layers: 0,
            declared_in: None,
            assigns_grid: false,
        }
    }

    pub fn operand(self, name: &'static str) -> Self {
        self.with_operand(name, Presence::Required)
    }

    pub fn optional(self, name: &'static str) -> Self {
        self.with_operand(name, Presence::Optional)
    }

    pub fn variadic(self, name: &'static str) -> Self {
        self.with_operand(name, Presence::Variadic)
    }

    fn with_operand(mut self, name: &'static str, presence: Presence) -> Self {
        self.operands.push(OperandSpec { name: name.into(), presence });
        self
    }

    /// An attribute with a default.
    pub fn attr(self, name: &'static str, default: impl Into<Attr>) -> Self {
        let default = default.into();
        self.with_attr(name, default.kind(), Default::Value(default))
    }

    pub fn required_attr(self, name: &'static str, kind: AttrKind) -> Self {
        self.with_attr(name, kind, Default::Required)
    }

    pub fn optional_attr(self, name: &'static str, kind: AttrKind) -> Self {
        self.with_attr(name, kind, Default::Absent)
    }

    fn with_attr(mut self, name: &'static str, kind: AttrKind, default: Default) -> Self {
        self.attrs.push(AttrSpec { name: name.into(), kind, default });
        self
    }

    /// One result `y`, or several.
    pub fn any_results(mut self) -> Self {
        self.any_results = true;
        self
    }

    /// An optional operand that is the [`State`], and a second result where it is given.
    pub fn state(self, name: &'static str, ty: fn(&Call) -> Result<TensorType, OpError>) -> Self {
        let state = Some(State { operand: self.operands.len(), ty });
        Self { state, ..self.optional(name).any_results() }
    }

    /// No element of the operand at `position` may be 0.
    pub fn divisor(self, position: usize) -> Self {
        Self { divisor: Some(position), ..self }
    }

    /// All operands are stored alike.
    pub fn uniform(mut self) -> Self {
        self.uniform = true;
        self
    }

    pub fn rounding(mut self) -> Self {
        self.accuracy = Accuracy::Rounding;
        self
    }

    pub fn layer(mut self) -> Self {
        self.layer = true;
        self.layers = 1;
        self.assigns_grid = true;
        self
    }

    pub fn attr_spec(&self, name: &str) -> Option<&AttrSpec> {
        self.attrs.iter().find(|spec| spec.name == name)
    }

    /// Whether the operand at `position` may be absent.
    pub fn may_lack(&self, position: usize) -> bool {
        self.operands.get(position).is_some_and(|spec| spec.presence == Presence::Optional)
    }

    /// The name of the operand at `position`; those of a variadic operand are numbered.
    pub fn operand_name(&self, position: usize) -> String {
        match (self.operands.get(position), self.operands.last()) {
            (Some(spec), _) if spec.presence != Presence::Variadic => spec.name.to_string(),
            (_, Some(last)) => {
                format!("{}[{}]", last.name, position.saturating_sub(self.operands.len() - 1))
            }
            (_, None) => position.to_string(),
        }
    }

    /// The name of result `at` of `count` of a node whose name is `base`.
    pub fn result_name(&self, base: &str, at: usize, count: usize) -> String {
        match self.results.get(at) {
            _ if count <= 1 => base.to_owned(),
            Some(result) if !self.any_results => format!("{base}_{result}"),
            _ => format!("{base}_{at}"),
        }
    }

    /// Smallest and largest number of operands; `None` for no upper limit.
    pub fn arity(&self) -> (usize, Option<usize>) {
        let least = self.operands.iter().filter(|spec| spec.presence != Presence::Optional).count();
        let variadic = self.operands.iter().any(|spec| spec.presence == Presence::Variadic);
        (least, (!variadic).then_some(self.operands.len()))
    }
}
