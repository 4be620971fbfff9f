//! Conditions and what they read, in words.

use std::sync::Arc;

use super::expr::{Binary, Data, Expr, Fact, Scope};
use super::rule::{AttrPattern, Slot};
use crate::ir::Attr;
use crate::ops::Registry;
use crate::syntax::qir::attr_text;
use crate::tensor::{DType, Tensor, TensorType};

/// Storage and shape.
pub fn type_words(ty: &TensorType) -> String {
    let on_grid = !ty.grid.is_plain();
    format!("{}{}{}", ty.storage(), ty.shape, if on_grid { " on a grid" } else { "" })
}

/// A tensor in few words: its element if it has one, else what it spans.
fn tensor_words(tensor: &Tensor) -> String {
    let ty = type_words(&tensor.tensor_type());
    let floats: Vec<f64> = match tensor.dtype() {
        DType::F32 => tensor.elements::<f32>().unwrap_or_default().iter().map(|&v| v.into()).collect(),
        DType::F64 => tensor.elements::<f64>().unwrap_or_default().to_vec(),
        _ => return ty,
    };
    let span = floats.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    match floats.as_slice() {
        [] => ty,
        [one] => format!("{one}"),
        _ if span.0 == span.1 => format!("{ty}, all {}", span.0),
        _ => format!("{ty} from {} to {}", span.0, span.1),
    }
}

fn data_words(data: &Data, registry: &Registry) -> String {
    match data {
        Data::Attr(attr) => attr_text(attr),
        Data::Type(ty) => type_words(ty),
        Data::Tensor(tensor) => tensor_words(tensor),
        Data::Value(None) => "absent".to_owned(),
        Data::Value(Some(Fact { ty, constant: None, .. })) => type_words(ty),
        Data::Value(Some(Fact { ty, constant: Some(constant), .. })) => match constant.tensor(registry) {
            Ok(tensor) => tensor_words(&tensor),
            Err(_) => type_words(ty),
        },
    }
}

/// What is said about the expressions of one rule at one place.
pub struct Words<'a, S> {
    pub scope: &'a S,
    pub registry: &'a Registry,
    /// Names of the variables.
    pub slots: &'a [Arc<str>],
}

impl<S: Scope> Words<'_, S> {
    fn name(&self, slot: Slot) -> &str {
        match self.slots.get(slot).map(|name| &**name) {
            // The outermost result can be named without having a name of its own.
            None | Some("") => "result",
            Some(name) => name,
        }
    }

    /// The expression as it could be written.
    pub fn text(&self, expr: &Expr) -> String {
        let list = |parts: &[Expr]| parts.iter().map(|part| self.text(part)).collect::<Vec<_>>().join(", ");
        let inner = |part: &Expr| match part {
            Expr::Binary(..) => format!("({})", self.text(part)),
            _ => self.text(part),
        };
        match expr {
            Expr::Literal(attr) => attr_text(attr),
            Expr::Slot(slot) => self.name(*slot).to_owned(),
            Expr::List(parts) => format!("[{}]", list(parts)),
            Expr::Call(helper, args) => format!("{}({})", helper.name, list(args)),
            Expr::Index(list, at) => format!("{}[{}]", inner(list), self.text(at)),
            Expr::Not(part) => format!("!{}", inner(part)),
            Expr::Negate(part) => format!("-{}", inner(part)),
            Expr::Binary(op, a, b) => format!("{} {} {}", inner(a), symbol(*op), inner(b)),
        }
    }

    /// What the parts of a condition come to, so that one sees why it does not hold.
    pub fn why(&self, condition: &Expr) -> String {
        let mut parts = Vec::new();
        self.parts(condition, &mut parts);
        parts.dedup();
        parts.join(", ")
    }

    fn parts(&self, condition: &Expr, out: &mut Vec<String>) {
        match condition {
            Expr::Not(part) => self.parts(part, out),
            Expr::Binary(Binary::And, a, b) => {
                let holds = a.holds(self.scope, self.registry) == Some(true);
                self.parts(if holds { b } else { a }, out);
            }
            Expr::Binary(Binary::Or, a, b) => {
                self.parts(a, out);
                self.parts(b, out);
            }
            Expr::Binary(_, a, b) => {
                self.value(a, out);
                self.value(b, out);
            }
            Expr::Call(helper, args) => {
                let values: Option<Vec<Data>> =
                    args.iter().map(|arg| arg.eval(self.scope, self.registry)).collect();
                match (values.and_then(|values| helper.explain(&values, self.registry)), args.first()) {
                    (Some(words), Some(first)) => out.push(format!("{} is {words}", self.text(first))),
                    _ => {
                        args.iter().for_each(|arg| self.value(arg, out));
                        if condition.eval(self.scope, self.registry).is_none() {
                            self.value(condition, out);
                        }
                    }
                }
            }
            other => self.value(other, out),
        }
    }

    /// What an expression that is not written out comes to.
    pub fn value(&self, expr: &Expr, out: &mut Vec<String>) {
        match expr.eval(self.scope, self.registry) {
            _ if matches!(expr, Expr::Literal(_)) => {}
            Some(data) => out.push(format!("{} is {}", self.text(expr), data_words(&data, self.registry))),
            None => self.nothing(expr, out),
        }
    }

    /// Finds the part that has no value, and says why.
    fn nothing(&self, expr: &Expr, out: &mut Vec<String>) {
        let parts: Vec<&Expr> = match expr {
            Expr::Literal(_) | Expr::Slot(_) => Vec::new(),
            Expr::List(parts) | Expr::Call(_, parts) => parts.iter().collect(),
            Expr::Not(part) | Expr::Negate(part) => vec![part],
            Expr::Index(a, b) | Expr::Binary(_, a, b) => vec![a, b],
        };
        let empty = |part: &&&Expr| part.eval(self.scope, self.registry).is_none();
        if let Some(part) = parts.iter().find(empty) {
            return self.nothing(part, out);
        }
        for part in parts {
            self.value(part, out);
        }
        let why = match expr {
            Expr::Call(helper, _) => helper.doc.split_once("; none").map(|(_, why)| format!(" (none{why})")),
            _ => None,
        };
        out.push(format!("{} has no value{}", self.text(expr), why.unwrap_or_default()));
    }

    /// What an attribute must be.
    pub fn attr(&self, pattern: &AttrPattern) -> String {
        match pattern {
            AttrPattern::Any => "_".to_owned(),
            AttrPattern::Bind(slot) => match self.scope.get(*slot) {
                Some(data) => format!("{} (which is {})", self.name(*slot), data_words(&data, self.registry)),
                None => self.name(*slot).to_owned(),
            },
            AttrPattern::List(items) => {
                let items: Vec<String> = items
                    .iter()
                    .map(|item| match item {
                        AttrPattern::Bind(slot) => self.name(*slot).to_owned(),
                        other => self.attr(other),
                    })
                    .collect();
                format!("[{}]", items.join(", "))
            }
            AttrPattern::Equals(Some(attr)) => attr_text(attr),
            AttrPattern::Equals(None) => "absent".to_owned(),
        }
    }
}

/// An attribute that may be absent.
pub fn found_attr(attr: Option<&Attr>) -> String {
    attr.map_or("absent".to_owned(), attr_text)
}

fn symbol(op: Binary) -> &'static str {
    match op {
        Binary::Equal => "==",
        Binary::NotEqual => "!=",
        Binary::Less => "<",
        Binary::LessEqual => "<=",
        Binary::And => "&&",
        Binary::Or => "||",
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::Rem => "%",
    }
}
