//! The syntax tree of `.qrules`: what is written, with places. What the names mean (operators,
//! helpers, variables), and whether types fit, is for the rule checker to say.
//!
//! A tree comes only from a text without syntax errors, so it has no holes. It is at most
//! [`MAX_DEPTH`](super::MAX_DEPTH) nodes deep: walking it by recursion is safe.

use std::sync::Arc;

use crate::diag::Span;
use crate::syntax::text;
use crate::tensor::DType;

/// A word, or the text of a string; the span covers the quotes too.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: Arc<str>,
    pub span: Span,
}

/// Documentation: the lines behind `//!` or `///`, joined by line breaks, without the one space
/// that follows the slashes. Empty where there is none.
pub type Docs = String;

#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The `//!` lines at the top.
    pub docs: Docs,
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `use "other.qrules"`: the path is relative to this file.
    Use(Name),
    Ruleset(Ruleset),
    Layer(Layer),
}

/// `layer Name { … }`: a hardware layer of the user's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub docs: Docs,
    pub name: Name,
    /// In the order of the text.
    pub members: Vec<LayerMember>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LayerMember {
    Onnx(Onnx),
    Attr(LayerAttr),
    /// `cost layers = 1, macs = dim(w, 0) * dim(w, 1)`
    Cost(Vec<(Name, Expr)>),
    Float(Form),
    Params(Params),
    Integer(Form),
}

/// `onnx "com.acme" 2 as "Dense"`: what its nodes are called in model files.
#[derive(Clone, Debug, PartialEq)]
pub struct Onnx {
    pub domain: Name,
    /// Version of the domain.
    pub opset: Number,
    /// Without it the layer's own name.
    pub op_type: Option<Name>,
}

/// `attr shift: int = 3`
#[derive(Clone, Debug, PartialEq)]
pub struct LayerAttr {
    pub docs: Docs,
    pub name: Name,
    pub kind: Name,
    /// Without it the attribute must be given.
    pub default: Option<Expr>,
}

/// `float (x, w: constant, b?: constant) { … => value }`, or `integer (x: i8) { … => value }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    pub docs: Docs,
    /// The word that announces it.
    pub span: Span,
    pub operands: Vec<LayerOperand>,
    pub clauses: Vec<LayerClause>,
    pub result: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LayerOperand {
    pub name: Name,
    pub optional: bool,
    pub kind: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LayerClause {
    /// `where condition`
    Condition(Expr),
    /// `let name = value`
    Let(Name, Expr),
    /// `name: i8 = value`: a parameter of the integer form.
    Param { name: Name, storage: Name, value: Expr },
}

/// `params { … => i8 {scale = s} }`
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    pub docs: Docs,
    /// The word that announces it.
    pub span: Span,
    pub clauses: Vec<LayerClause>,
    /// What the result is stored as.
    pub storage: Name,
    /// What its integers mean.
    pub grid: AttrArgs,
}

/// `ruleset name { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Ruleset {
    pub docs: Docs,
    pub name: Name,
    /// In the order of the text.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Member {
    /// `contract bitexact`
    Contract(Name),
    /// `driver saturate`
    Driver(Name),
    Rule(Rule),
    CustomPattern(CustomPattern),
}

/// `rule what_into_what expand priority 2 { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub docs: Docs,
    pub name: Name,
    pub modifiers: Vec<Modifier>,
    pub body: Body,
}

/// A word behind a rule's name, with the number that follows it if one does.
#[derive(Clone, Debug, PartialEq)]
pub struct Modifier {
    pub name: Name,
    pub value: Option<Number>,
}

/// `custom_pattern name { … }`, or the chain form.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomPattern {
    pub docs: Docs,
    pub name: Name,
    pub modifiers: Vec<Modifier>,
    pub form: CustomForm,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CustomForm {
    General {
        body: Body,
        /// Other right sides, for where the one before cannot be made.
        more: Vec<Arm>,
    },
    /// `= chain(conv2d, max_pool2d, relu) => layer QuantizedConv2D`: operators from the first to
    /// the last, each the only reader of the one before.
    Chain { ops: Vec<Name>, layer: Name },
}

/// `pattern as (lo, hi) where … => replacement`
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// The operator whose results are replaced.
    pub pattern: OpPattern,
    /// Names of the results, from `as`. Without it the one result is called `result`.
    pub results: Option<Vec<Name>>,
    pub clauses: Vec<Clause>,
    /// One expression, or as many as there are results.
    pub replacement: Vec<Expr>,
}

/// `where … => replacement`, behind the first right side of a custom pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    pub clauses: Vec<Clause>,
    pub replacement: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// `where condition`
    Condition(Expr),
    /// `where let name = value`: binds, or quietly fails.
    Let(Name, Expr),
}

/// `alias @ op(operands) {attributes}`
#[derive(Clone, Debug, PartialEq)]
pub struct OpPattern {
    /// A name for the (first) result.
    pub alias: Option<Name>,
    pub op: Name,
    pub operands: Vec<OperandPattern>,
    pub attrs: AttrPatterns,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum OperandPattern {
    /// `_`: there is no such operand.
    Absent(Span),
    /// `..xs`: all operands from here on.
    Rest(Name),
    /// `x`, `x: quantized`, `b?`. A name that occurs twice, or is an alias, is one value.
    Variable {
        name: Name,
        /// What the value has to be.
        kind: Option<Name>,
        /// `?`: the operand may be absent; what the name stands for is then absent as well.
        optional: bool,
    },
    /// A constant whose every element has this value.
    Number(Number),
    /// A constant vector of these elements.
    Numbers(Vec<Number>),
    Op(OpPattern),
    /// `hi of split(x) as (lo, hi)`: the result of that name.
    Result {
        /// Which of them.
        name: Option<Name>,
        pattern: OpPattern,
        /// Names of the results, from `as`.
        results: Vec<Name>,
    },
}

/// `{axis = 1, min = lo, ..rest}`. Attributes that are not named have their defaults, unless
/// there is a rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttrPatterns {
    pub named: Vec<(Name, AttrPattern)>,
    /// `..rest`: the attributes that are not named.
    pub rest: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AttrPattern {
    /// `_`
    Any(Span),
    /// Binds the name, or compares with what it stands for.
    Variable(Name),
    Literal(Literal),
    List(Vec<AttrPattern>, Span),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Literal(Literal),
    Name(Arc<str>),
    List(Vec<Expr>),
    /// A helper or an operator applied; which of them, its name says.
    Call(Call),
    /// `list[index]`
    Index(Box<Expr>, Box<Expr>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
}

/// `op(operands) {attributes}`, or `layer Name(operands) {attributes}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Whether `layer` stands before it.
    pub layer: bool,
    pub name: Name,
    pub args: Vec<Arg>,
    /// `None` where no braces are written.
    pub attrs: Option<AttrArgs>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// `_`: no operand here.
    Absent(Span),
    /// `..xs`: all operands that the pattern's `..xs` stands for.
    Rest(Name),
    Expr(Expr),
}

/// `{axis = k + 1, ..rest}`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttrArgs {
    pub named: Vec<(Name, Expr)>,
    /// Attributes taken from a pattern's `..rest`; what is named wins.
    pub rest: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    pub value: LiteralValue,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LiteralValue {
    Number(Number),
    Str(Arc<str>),
    Bool(bool),
    DType(DType),
}

/// A number as it is written: `3`, `-0.5`, `1e-5`, `inf`. Only its place says of which type it is,
/// and reading it as that type rounds once.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    pub text: Arc<str>,
    pub span: Span,
}

impl Number {
    /// Whether it is written as a whole number.
    pub fn is_int(&self) -> bool {
        !self.text.contains(['.', 'e', 'E', 'n'])
    }

    /// Its value, if it is one of the type's.
    pub fn read<T: text::Number>(&self) -> Option<T> {
        T::read(&self.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Not,
    Negate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Unary {
    pub fn symbol(self) -> &'static str {
        match self {
            Unary::Not => "!",
            Unary::Negate => "-",
        }
    }
}

impl Binary {
    pub fn symbol(self) -> &'static str {
        match self {
            Binary::Or => "||",
            Binary::And => "&&",
            Binary::Equal => "==",
            Binary::NotEqual => "!=",
            Binary::Less => "<",
            Binary::LessEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterEqual => ">=",
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Remainder => "%",
        }
    }
}
