//! The syntax tree of `.qir`: what is written, with places, before names mean anything.

use std::borrow::Cow;

use crate::diag::Span;

/// A name or a string, without sigil and quotes; the span covers both.
#[derive(Clone, Debug, PartialEq)]
pub struct Name<'a> {
    pub text: Cow<'a, str>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct File<'a> {
    /// The number behind `qir`; `None` if the header is missing or broken.
    pub version: Option<Literal<'a>>,
    pub items: Vec<Item<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    Alias {
        name: Name<'a>,
        grid: Grid<'a>,
    },
    Graph(Graph<'a>),
    Data(Data<'a>),
    /// An item that could not be read, and was reported.
    Broken,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Graph<'a> {
    pub name: Name<'a>,
    /// `None` if it could not be read.
    pub signature: Option<Signature<'a>>,
    pub body: Vec<Statement<'a>>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Signature<'a> {
    pub inputs: Vec<Param<'a>>,
    pub outputs: Vec<Param<'a>>,
}

/// An input or an output of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Param<'a> {
    pub name: Name<'a>,
    pub ty: Typed<'a>,
    pub origin: Origin<'a>,
}

/// A type and a calibrated range.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed<'a> {
    pub ty: Type<'a>,
    pub range: Option<List<'a>>,
}

/// Where a node was imported from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin<'a> {
    /// What the node is called in model files, if this is not to be inferred.
    pub name: Option<Name<'a>>,
    pub locs: Vec<(Name<'a>, Name<'a>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement<'a> {
    Define {
        results: Vec<Name<'a>>,
        /// `None` if what follows the `=` could not be read.
        node: Option<Node<'a>>,
        span: Span,
    },
    Return {
        values: Vec<Name<'a>>,
        span: Span,
    },
    Broken,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    pub kind: Kind<'a>,
    pub types: Vec<Typed<'a>>,
    pub origin: Origin<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind<'a> {
    Const(Name<'a>),
    Op {
        op: Name<'a>,
        /// `None` for `_`.
        operands: Vec<Option<Name<'a>>>,
        attrs: Vec<(Name<'a>, Attr<'a>)>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Attr<'a> {
    One(Literal<'a>),
    List(Vec<Literal<'a>>, Span),
}

/// A number, a word (`true`, `i8`, `inf`) or a string.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal<'a> {
    pub kind: LiteralKind,
    /// Of a string, what it says; else what is written.
    pub text: Cow<'a, str>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralKind {
    Number,
    Word,
    Str,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Type<'a> {
    pub grid: Grid<'a>,
    pub dims: Vec<Literal<'a>>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Grid<'a> {
    Plain(Name<'a>),
    Alias(Name<'a>),
    Quantized { storage: Name<'a>, parts: Vec<(Name<'a>, List<'a>)>, span: Span },
}

/// Numbers, given one by one or as a data entry.
#[derive(Clone, Debug, PartialEq)]
pub enum List<'a> {
    One(Literal<'a>),
    Inline(Vec<Literal<'a>>, Span),
    Data(Name<'a>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Data<'a> {
    pub name: Name<'a>,
    pub ty: Type<'a>,
    /// `None` if what follows the `=` could not be read.
    pub init: Option<Init<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Init<'a> {
    Inline(Vec<Literal<'a>>, Span),
    File { path: Name<'a>, tensor: Name<'a>, sha256: Option<Name<'a>> },
}

impl List<'_> {
    pub fn span(&self) -> Span {
        match self {
            List::One(literal) => literal.span,
            List::Inline(_, span) => *span,
            List::Data(name) => name.span,
        }
    }
}

pub(in crate::syntax) fn literal<'a>(kind: LiteralKind, text: Cow<'a, str>, span: Span) -> Literal<'a> {
    Literal { kind, text, span }
}
