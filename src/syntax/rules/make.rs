//! Tree nodes as the grammar makes them.

use super::ast::{
    AttrPattern, Binary, Call, Docs, Expr, ExprKind, Literal, LiteralValue, Name, Number, Unary,
};
use crate::diag::Span;
use crate::tensor::DType;

pub fn docs(lines: &[&str], slashes: &str) -> Docs {
    let text = |line: &&str| {
        let line = line.trim_end();
        let line = line.strip_prefix(slashes).unwrap_or(line);
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Element types are literals; every other word is a name.
fn dtype(text: &str, span: Span) -> Option<Literal> {
    let dtype: DType = text.parse().ok()?;
    Some(Literal { value: LiteralValue::DType(dtype), span })
}

pub fn name(text: &str, span: Span) -> Expr {
    match dtype(text, span) {
        Some(literal) => self::literal(literal),
        None => Expr { kind: ExprKind::Name(text.into()), span },
    }
}

pub fn attr_pattern(text: &str, span: Span) -> AttrPattern {
    match dtype(text, span) {
        Some(literal) => AttrPattern::Literal(literal),
        None => AttrPattern::Variable(Name { text: text.into(), span }),
    }
}

pub fn number(number: Number) -> Literal {
    Literal { span: number.span, value: LiteralValue::Number(number) }
}

/// `sign` is the place of the minus.
pub fn negated(number: Number, sign: Span) -> Number {
    Number { text: format!("-{}", number.text).into(), span: sign.to(number.span) }
}

pub fn literal(literal: Literal) -> Expr {
    Expr { span: literal.span, kind: ExprKind::Literal(literal) }
}

/// A minus before a number is part of it.
pub fn unary(op: Unary, operand: Expr, span: Span) -> Expr {
    match (op, operand.kind) {
        (Unary::Negate, ExprKind::Literal(Literal { value: LiteralValue::Number(one), .. }))
            if !one.text.starts_with('-') =>
        {
            literal(number(negated(one, span)))
        }
        (op, kind) => {
            let operand = Expr { kind, span: operand.span };
            Expr { kind: ExprKind::Unary(op, Box::new(operand)), span }
        }
    }
}

pub fn binary(op: Binary, a: Expr, b: Expr) -> Expr {
    let span = a.span.to(b.span);
    Expr { kind: ExprKind::Binary(op, Box::new(a), Box::new(b)), span }
}

pub fn call(call: Call, span: Span) -> Expr {
    Expr { kind: ExprKind::Call(call), span }
}
