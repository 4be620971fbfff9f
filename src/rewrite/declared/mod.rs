//! Layers that rule files declare. A declaration is an operator like the built-in layers: its bodies
//! are right sides of the rule language over built-in operators, and types, values, costs, parameters
//! and the ONNX function all come from them.

mod chain;
mod form;
mod onnx;
mod operator;
mod parameters;

pub use chain::fusion;
pub use operator::DeclaredLayer;
pub use parameters::{Unquantized, quantize};

use std::sync::Arc;

use super::expr::Expr;
use super::rule::{Slot, Template};
use crate::diag::Span;
use crate::ops::AttrSpec;
use crate::tensor::DType;

/// A checked `layer` item.
///
/// Its operands are, in this order: the values that both forms read, the constants of the float form,
/// the parameters of the integer form. Each form leaves out what is the other's.
#[derive(Debug)]
pub struct Declared {
    pub name: Arc<str>,
    /// Where it is named.
    pub span: Span,
    pub doc: String,
    /// The rule file, for messages.
    pub file: Arc<str>,
    pub domain: Arc<str>,
    pub opset: i64,
    pub op_type: Arc<str>,
    pub attrs: Vec<AttrSpec>,
    /// The values that both forms read, with what the integer form has them stored as; at least one.
    pub inputs: Vec<(Arc<str>, DType)>,
    /// The constants of the float form, and whether each may be absent.
    pub constants: Vec<(Arc<str>, bool)>,
    /// The operands of the integer form that the parameter computation makes.
    pub params: Vec<Param>,
    pub float: Form,
    pub integer: Form,
    pub computation: Computation,
    /// Device layers that one application counts as.
    pub layers: u64,
    /// Multiply-accumulates of the float form; without it those of its operators are counted.
    pub macs: Option<(Section, Expr)>,
}

#[derive(Debug)]
pub struct Param {
    pub name: Arc<str>,
    pub storage: DType,
    /// Its variable in the parameter computation.
    pub slot: Slot,
}

/// What a variable of a section stands for before its first clause.
#[derive(Clone, Debug)]
pub enum Given {
    /// The operand of the layer at this position.
    Operand(usize),
    Attr(Arc<str>),
    /// The calibrated range of the result, lowest values and then highest.
    Range,
    /// Whether an addition reads the result.
    FeedsAdd,
}

/// Variables and what is said of them, in order.
#[derive(Debug)]
pub struct Section {
    /// The first variables.
    pub given: Vec<Given>,
    /// The number of all variables.
    pub slots: usize,
    pub clauses: Vec<Clause>,
}

#[derive(Debug)]
pub enum Clause {
    /// A condition, with its text.
    Holds(Expr, Arc<str>),
    Let(Slot, Term),
}

/// The value of a variable.
#[derive(Debug)]
pub enum Term {
    /// An attribute, a type, or a constant.
    Data(Expr),
    /// A value that operators make, or another name of a value.
    Made(Template),
}

/// What a layer computes: in floats, or in integers.
#[derive(Debug)]
pub struct Form {
    pub section: Section,
    pub result: Template,
    /// Where the result is written.
    pub span: Span,
}

/// How the parameters of the integer form come about.
#[derive(Debug)]
pub struct Computation {
    pub section: Section,
    /// The grid of the result: its storage, and integers per real.
    pub storage: DType,
    pub scale: Template,
    /// What the section names, in its order; the scale of the result is the last.
    pub named: Vec<Named>,
}

/// A name in the parameter computation.
#[derive(Debug)]
pub struct Named {
    pub name: Arc<str>,
    /// Its variable; `None` for the scale of the result.
    pub slot: Option<Slot>,
    /// What it is, as it is written.
    pub text: Arc<str>,
    pub span: Span,
}

impl Declared {
    /// Position of the first parameter.
    fn first_param(&self) -> usize {
        self.inputs.len() + self.constants.len()
    }
}
