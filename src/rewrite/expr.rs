//! Expressions over types, attributes and constants: conditions and attributes of rules.

use std::cmp::Ordering;
use std::sync::Arc;

use super::constant::Constant;
use super::helpers::Helper;
use super::rule::Slot;
use crate::ir::Attr;
use crate::ops::Registry;
use crate::tensor::{Tensor, TensorType};

/// What is known of a value without looking at what makes it: in the e-graph a value has many
/// makers.
#[derive(Clone, Debug)]
pub struct Fact {
    pub ty: TensorType,
    pub constant: Option<Constant>,
    /// Whether it is an input of the graph, at most cast and transposed.
    pub entry: bool,
}

/// The value of an expression.
#[derive(Clone, Debug)]
pub enum Data {
    Attr(Attr),
    Type(TensorType),
    /// A value of the graph; `None` for an absent operand.
    Value(Option<Fact>),
    Tensor(Arc<Tensor>),
}

impl From<Attr> for Data {
    fn from(attr: Attr) -> Self {
        Data::Attr(attr)
    }
}

/// The kinds that the checker tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Float,
    Str,
    DType,
    Ints,
    Floats,
    Type,
    /// A value of the graph, possibly absent.
    Value,
    /// A tensor; a value of the graph is one where it is constant.
    Tensor,
    /// A tensor or an absent operand.
    Optional,
    /// Operands of `..more`, as data their number.
    More,
}

impl Kind {
    /// The words that diagnostics and generated docs use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Str => "string",
            Kind::DType => "dtype",
            Kind::Ints => "list of int",
            Kind::Floats => "list of float",
            Kind::Type => "type",
            Kind::Value => "value",
            Kind::Tensor => "constant",
            Kind::Optional => "constant?",
            Kind::More => "rest of operands",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    And,
    Or,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

#[derive(Clone, Debug)]
pub enum Expr {
    Literal(Attr),
    Slot(Slot),
    /// Integers, or floats as soon as one is.
    List(Vec<Expr>),
    Call(&'static Helper, Vec<Expr>),
    Index(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
}

/// Where variables get their values.
pub trait Scope {
    fn get(&self, slot: Slot) -> Option<Data>;
}

impl Expr {
    /// The value, or `None` where some part has none (a symbolic size, a value that is not
    /// constant, an overflow): the rule does not apply then.
    pub fn eval(&self, scope: &impl Scope, registry: &Registry) -> Option<Data> {
        match self {
            Expr::Literal(attr) => Some(Data::Attr(attr.clone())),
            Expr::Slot(slot) => scope.get(*slot),
            Expr::List(items) => {
                let items = items
                    .iter()
                    .map(|item| match item.eval(scope, registry)? {
                        Data::Attr(attr) => Some(attr),
                        _ => None,
                    })
                    .collect::<Option<Vec<_>>>()?;
                list(&items).map(Data::Attr)
            }
            Expr::Call(helper, args) => {
                let args = args.iter().map(|arg| arg.eval(scope, registry)).collect::<Option<Vec<_>>>()?;
                helper.call(&args, registry)
            }
            Expr::Index(list, at) => index(&list.eval(scope, registry)?, &at.eval(scope, registry)?),
            Expr::Not(inner) => Some(Attr::Bool(!inner.holds(scope, registry)?).into()),
            Expr::Negate(inner) => match inner.eval(scope, registry)? {
                Data::Attr(Attr::Int(v)) => Some(Attr::Int(v.checked_neg()?).into()),
                Data::Attr(Attr::Float(v)) => Some(Attr::Float(-v).into()),
                _ => None,
            },
            Expr::Binary(Binary::And, a, b) => {
                Some(Attr::Bool(a.holds(scope, registry)? && b.holds(scope, registry)?).into())
            }
            Expr::Binary(Binary::Or, a, b) => {
                Some(Attr::Bool(a.holds(scope, registry)? || b.holds(scope, registry)?).into())
            }
            Expr::Binary(op, a, b) => {
                binary(*op, &a.eval(scope, registry)?, &b.eval(scope, registry)?).map(Data::Attr)
            }
        }
    }

    /// The value of a condition.
    pub fn holds(&self, scope: &impl Scope, registry: &Registry) -> Option<bool> {
        match self.eval(scope, registry)? {
            Data::Attr(Attr::Bool(v)) => Some(v),
            _ => None,
        }
    }

    /// Calls `visit` for each variable read.
    pub fn slots(&self, visit: &mut impl FnMut(Slot)) {
        match self {
            Expr::Literal(_) => {}
            Expr::Slot(slot) => visit(*slot),
            Expr::List(parts) | Expr::Call(_, parts) => parts.iter().for_each(|part| part.slots(visit)),
            Expr::Not(part) | Expr::Negate(part) => part.slots(visit),
            Expr::Index(a, b) | Expr::Binary(_, a, b) => {
                a.slots(visit);
                b.slots(visit);
            }
        }
    }
}

fn list(items: &[Attr]) -> Option<Attr> {
    let ints: Option<Vec<i64>> = items
        .iter()
        .map(|item| match item {
            Attr::Int(v) => Some(*v),
            _ => None,
        })
        .collect();
    if let Some(ints) = ints {
        return Some(ints.into());
    }
    let floats: Option<Vec<f32>> = items.iter().map(float).collect();
    floats.filter(|floats| floats.iter().all(|v| !v.is_nan())).map(Attr::from)
}

/// An entry; negative positions count from the end.
fn index(list: &Data, at: &Data) -> Option<Data> {
    let (Data::Attr(list), Data::Attr(Attr::Int(at))) = (list, at) else { return None };
    let count = match list {
        Attr::Ints(v) => v.len(),
        Attr::Floats(v) => v.len(),
        _ => return None,
    };
    let at = if *at < 0 { at.checked_add(i64::try_from(count).ok()?)? } else { *at };
    let at = usize::try_from(at).ok()?;
    match list {
        Attr::Ints(v) => v.get(at).map(|&v| Attr::Int(v).into()),
        Attr::Floats(v) => v.get(at).map(|&v| Attr::Float(v).into()),
        _ => None,
    }
}

fn float(attr: &Attr) -> Option<f32> {
    match attr {
        Attr::Float(v) => Some(*v),
        // An integer written where a float is meant; the nearest f32, as for a literal.
        Attr::Int(v) => Some(*v as f32),
        _ => None,
    }
}

fn binary(op: Binary, a: &Data, b: &Data) -> Option<Attr> {
    match op {
        Binary::Equal => return same(a, b).map(Attr::Bool),
        Binary::NotEqual => return same(a, b).map(|same| Attr::Bool(!same)),
        _ => {}
    }
    let (Data::Attr(a), Data::Attr(b)) = (a, b) else { return None };
    match op {
        Binary::Less => Some(Attr::Bool(compare(a, b)? == Ordering::Less)),
        Binary::LessEqual => Some(Attr::Bool(compare(a, b)? != Ordering::Greater)),
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Rem => arithmetic(op, a, b),
        Binary::And | Binary::Or | Binary::Equal | Binary::NotEqual => None,
    }
}

fn same(a: &Data, b: &Data) -> Option<bool> {
    match (a, b) {
        (Data::Attr(a), Data::Attr(b)) => match (a, b) {
            (Attr::Float(_), _) | (_, Attr::Float(_)) => Some(float(a)? == float(b)?),
            _ => Some(a == b),
        },
        (Data::Type(a), Data::Type(b)) => Some(a == b),
        _ => None,
    }
}

fn compare(a: &Attr, b: &Attr) -> Option<Ordering> {
    match (a, b) {
        (Attr::Int(a), Attr::Int(b)) => Some(a.cmp(b)),
        _ => float(a)?.partial_cmp(&float(b)?),
    }
}

/// Integers exactly (division only without remainder), floats with one f32 rounding.
fn arithmetic(op: Binary, a: &Attr, b: &Attr) -> Option<Attr> {
    if let (Attr::Int(a), Attr::Int(b)) = (a, b) {
        return match op {
            Binary::Add => a.checked_add(*b),
            Binary::Sub => a.checked_sub(*b),
            Binary::Mul => a.checked_mul(*b),
            Binary::Div => (a.checked_rem(*b)? == 0).then(|| a.checked_div(*b)).flatten(),
            Binary::Rem => a.checked_rem(*b),
            _ => None,
        }
        .map(Attr::Int);
    }
    let (a, b) = (float(a)?, float(b)?);
    let value = match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        _ => return None,
    };
    (!value.is_nan()).then_some(Attr::Float(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Empty;

    impl Scope for Empty {
        fn get(&self, _: Slot) -> Option<Data> {
            None
        }
    }

    fn eval(op: Binary, a: impl Into<Attr>, b: impl Into<Attr>) -> Option<Attr> {
        let literal = |attr: Attr| Box::new(Expr::Literal(attr));
        match Expr::Binary(op, literal(a.into()), literal(b.into())).eval(&Empty, &Registry::built_in())? {
            Data::Attr(attr) => Some(attr),
            _ => None,
        }
    }

    #[test]
    fn integers_never_wrap_and_divide_only_exactly() {
        assert_eq!(eval(Binary::Add, 2, 3), Some(Attr::Int(5)));
        assert_eq!(eval(Binary::Add, i64::MAX, 1), None);
        assert_eq!(eval(Binary::Div, 6, 3), Some(Attr::Int(2)));
        assert_eq!(eval(Binary::Div, 7, 3), None);
        assert_eq!(eval(Binary::Div, 7, 0), None);
        assert_eq!(eval(Binary::Div, i64::MIN, -1), None);
    }

    #[test]
    fn floats_and_integers_compare_by_value_and_nan_has_none() {
        assert_eq!(eval(Binary::Less, 0, 0.5), Some(Attr::Bool(true)));
        assert_eq!(eval(Binary::Equal, 0, 0.0), Some(Attr::Bool(true)));
        assert_eq!(eval(Binary::Div, 0.0, 0.0), None);
        assert_eq!(eval(Binary::Equal, "a", 1), Some(Attr::Bool(false)));
    }
}
