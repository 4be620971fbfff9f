use super::ast::*;
use super::{format, parse};
use crate::diag::{Sources, render};

const RULES: &str = r#"//! Algebra on integer grids.
//!   indented

// plain
use "base.qrules"

/// Rules of the house.
ruleset qdq {
  contract bitexact
  driver   saturate  // why not

  /// Requantizing onto the grid the value already has changes nothing.
  rule requant_identity {
    requantize(x: quantized) {min = lo, max = hi}
      where same_grid(type(x), type(result))
      where full_range(type(x), lo, hi)
    => x
  }

  /// A relu after a requantize is a tighter lower clamp.
  rule relu_into_requant priority 2 expand {
    relu(r @ requantize(acc) {min = lo, max = hi, ..rest})
      where same_grid(type(r), type(result))
      where let z = zero_point(type(r))
      where z <= hi  // without this the clamp bounds cross
    => requantize(acc) {min = max(lo, z), max = hi, ..rest}
  }

  rule split_of_concat {
    split(concat(a, b) {axis = k}) {axis = k} as (lo, hi)
      where type(a) == type(lo) && !(shape(b)[0] > -1) || a - -1 * 2 == [1, 2.5e-3, -inf][0]
    => (a, b)
  }

  rule where {
    where(
      _, b?: constant, -1.5, ..xs
    ) {pads = [0, _, p], mode = "é\n", dtype = i8, as = true, ..where}
      where where(a, b)
    => layer(layer Foo(_, ..xs) {..where})
  }
}

ruleset my_layers {
  contract real
  driver   greedy

  custom_pattern conv_hardswish {
    hard_swish(conv2d(x, w, b) {..conv})
    => layer QuantizedConv2D(x, w, b) {activation = "HardSwish", ..conv}
  }

  /// Short form.
  custom_pattern conv_pool_relu = chain(conv2d, max_pool2d, relu) => layer QuantizedConv2D
  custom_pattern conv_relu = chain(conv2d, relu) => layer QuantizedConv2D
}
"#;

fn read(text: &str) -> File {
    let mut sources = Sources::default();
    let id = sources.add("a.qrules", text).unwrap();
    parse(text, id).unwrap_or_else(|found| {
        let all: Vec<_> = found.0.iter().map(|finding| render(finding, &sources, false)).collect();
        panic!("{}", all.join("\n"))
    })
}

fn faults(text: &str) -> Vec<(usize, String)> {
    let mut sources = Sources::default();
    let id = sources.add("a.qrules", text).unwrap();
    let found = parse(text, id).map(drop).err().unwrap_or_default();
    let line = |finding: &crate::diag::Diagnostic| match finding.labels.first().map(|label| &label.place) {
        Some(crate::diag::Place::Text(span)) => sources.line_column(*span).0,
        _ => 0,
    };
    found.0.iter().map(|finding| (line(finding), finding.message.clone())).collect()
}

fn laid_out(text: &str) -> String {
    let id = Sources::default().add("a.qrules", text).unwrap();
    format(text, id).unwrap()
}

#[test]
fn a_whole_file_reads() {
    let file = read(RULES);
    assert_eq!(file.docs, "Algebra on integer grids.\n  indented");
    let [Item::Use(path), Item::Ruleset(qdq), Item::Ruleset(layers)] = &file.items[..] else { panic!() };
    assert_eq!((&*path.text, &*qdq.docs), ("base.qrules", "Rules of the house."));
    let [Member::Contract(contract), Member::Driver(_), rules @ ..] = &qdq.members[..] else { panic!() };
    assert_eq!(&*contract.text, "bitexact");
    let [Member::Rule(_), Member::Rule(relu), Member::Rule(split), Member::Rule(wheres)] = rules else {
        panic!()
    };
    assert_eq!(relu.docs, "A relu after a requantize is a tighter lower clamp.");
    assert_eq!(relu.modifiers.len(), 2);
    assert_eq!(relu.modifiers[0].value.as_ref().and_then(Number::read::<i64>), Some(2));
    assert!(matches!(&relu.body.clauses[1], Clause::Let(name, _) if &*name.text == "z"));
    let [OperandPattern::Op(inner)] = &relu.body.pattern.operands[..] else { panic!() };
    assert_eq!(inner.alias.as_ref().map(|name| &*name.text), Some("r"));
    assert_eq!(inner.attrs.rest.as_ref().map(|name| &*name.text), Some("rest"));
    assert_eq!(split.body.results.as_ref().map(Vec::len), Some(2));
    assert_eq!(split.body.replacement.len(), 2);
    let Clause::Condition(or) = &split.body.clauses[0] else { panic!() };
    assert_eq!(
        shown(or),
        "((type(a) == type(lo)) && !(shape(b)[0] > -1)) || ((a - (-1 * 2)) == [1, 2.5e-3, -inf][0])"
    );
    assert_eq!(&*wheres.body.pattern.op.text, "where");
    assert_eq!(wheres.body.pattern.operands.len(), 4);
    assert!(matches!(&wheres.body.pattern.attrs.named[2].1, AttrPattern::Literal(_)));
    let Member::CustomPattern(CustomPattern { form: CustomForm::Chain { ops, layer }, .. }) =
        &layers.members[3]
    else {
        panic!()
    };
    assert_eq!((ops.len(), &*layer.text), (3, "QuantizedConv2D"));
}

/// An expression with every operation in parentheses but the outermost.
fn shown(expr: &Expr) -> String {
    let nested = |expr: &Expr| match &expr.kind {
        ExprKind::Binary(..) => format!("({})", shown(expr)),
        _ => shown(expr),
    };
    let list = |list: &[Expr]| list.iter().map(shown).collect::<Vec<_>>().join(", ");
    match &expr.kind {
        ExprKind::Literal(Literal { value: LiteralValue::Number(number), .. }) => number.text.to_string(),
        ExprKind::Literal(literal) => format!("{:?}", literal.value),
        ExprKind::Name(name) => name.to_string(),
        ExprKind::List(items) => format!("[{}]", list(items)),
        ExprKind::Call(call) => {
            let args: Vec<String> = call
                .args
                .iter()
                .map(|arg| match arg {
                    Arg::Expr(expr) => shown(expr),
                    Arg::Absent(_) => "_".into(),
                    Arg::Rest(name) => format!("..{}", name.text),
                })
                .collect();
            format!("{}({})", call.name.text, args.join(", "))
        }
        ExprKind::Index(of, at) => format!("{}[{}]", nested(of), shown(at)),
        ExprKind::Unary(op, of) => format!("{}{}", op.symbol(), nested(of)),
        ExprKind::Binary(op, a, b) => format!("{} {} {}", nested(a), op.symbol(), nested(b)),
    }
}

#[test]
fn errors_do_not_hide_each_other() {
    let text = r#"use base
ruleset a {
  contract
  rule b {
    relu(x) where
    => x
  }
  rule c {
    relu(x {min = 1})
    => x
  /// docs
  rule d {
    relu(x) => x < x < x
  }
  rule e { relu(_x) {a = 1, b} => x } }
  stray
}
ruleset f {
  custom_pattern g = chain() => layer H
}
"#;
    let found = faults(text);
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 3, 6, 9, 13, 15, 19], "{found:#?}");
}

#[test]
fn the_layout_keeps_comments_and_is_its_own_layout() {
    assert_eq!(laid_out(RULES), RULES);
    let messy = r#"// top
//! docs
use "a.qrules" use "b.qrules" // b
ruleset  a{ // open
contract real driver greedy
// about b
/// doc
rule b{relu( x )// first
where! f( x )&&g(- 1)
// about the clause
where  let z=-x [ 0 ]+1


where (a||b)
=>relu( // inner
x,
 y)
// last
}
rule short{relu(relu(x))=>relu(x)}//s
rule short_too  {
    relu(relu( x)) => relu(x )}

  rule broken { // why
    relu(relu(x))=>relu(x)
     {a=1} }

custom_pattern c=chain( conv2d,relu )=>layer L // c
// end
}
// bye
"#;
    let neat = r#"// top
//! docs

use "a.qrules"
use "b.qrules"  // b

ruleset a {  // open
  contract real
  driver   greedy

  // about b
  /// doc
  rule b {
    relu(x)  // first
      where !f(x) && g(-1)
      // about the clause
      where let z = -x[0] + 1
      where (a || b)
    => relu(  // inner
      x,
      y)
    // last
  }

  rule short { relu(relu(x)) => relu(x) }  //s

  rule short_too {
    relu(relu(x)) => relu(x)
  }

  rule broken {  // why
    relu(relu(x))
    => relu(x)
        {a = 1}
  }

  custom_pattern c = chain(conv2d, relu) => layer L  // c
  // end
}
// bye
"#;
    assert_eq!(laid_out(messy), neat);
    assert_eq!(laid_out(neat), neat);
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in
        [("relu(", ")"), ("!", ""), ("- ", ""), ("[", "]"), ("1 + ", ""), ("(", ")"), ("a && ", "")]
    {
        let nested = |n: usize| {
            format!("ruleset a {{ rule b {{ relu(x) where {}x{} => x }} }}", open.repeat(n), close.repeat(n))
        };
        assert_eq!(faults(&nested(90)), [], "{open}");
        assert_eq!(faults(&nested(100_000)).len(), 1, "{open}");
    }
    let indexed = format!("ruleset a {{ rule b {{ relu(x) where x{} => x }} }}", "[0]".repeat(100_000));
    assert_eq!(faults(&indexed).len(), 1);
    let pattern = format!("ruleset a {{ rule b {{ {}x{} => x }} }}", "relu(".repeat(9999), ")".repeat(9999));
    assert_eq!(faults(&pattern).len(), 1);
}

const LAYER: &str = r#"//! An accelerator.

/// A dense layer with a leaky activation.
layer AcmeDense {
  onnx "com.acme" 2 as "Dense"
  /// Of the slope.
  attr shift: int = 3
  attr cost: ints = [1, 2]  // a name like any other
  cost layers = 1, macs = dim(w, 0) * dim(w, 1)

  /// Over the reals.
  float (x, w: constant, b?: constant) {
    where rank(x) == 2 && shift >= 0
    // about d
    let d = dense(x, w, b)
    => max(d, d * exp2(-shift))
  }

  params {
    let sx = scale_of(x)
    wi: i8 = kernel_integers(w, sx)
    m: u8 = reshape(rescale_multiplier(sx, sx)) {shape = [1, -1]}
    => i8 {scale = output_scale(range, feeds_add)}
  }

  integer (x: i8) {
    let acc = dense(x, wi)
    => rescale(
      max(acc, float(params)), m, onnx) {to = i8}
  }
}

layer Short {
  onnx "a" 1
  float (x) { => relu(x) }
  params { => i8 {scale = scale_of(x)} }
  integer (x: i8) { => relu(x) }
}

ruleset acme {
  contract real
  driver   greedy

  custom_pattern a = chain(dense, relu) => layer AcmeDense
  rule b { relu(onnx) => layer Short(onnx) }
}
"#;

#[test]
fn layers_read_and_have_their_layout() {
    let file = read(LAYER);
    let [Item::Layer(dense), Item::Layer(short), Item::Ruleset(_)] = &file.items[..] else { panic!() };
    assert_eq!((&*dense.docs, dense.members.len()), ("A dense layer with a leaky activation.", 7));
    let [LayerMember::Onnx(onnx), LayerMember::Attr(shift), LayerMember::Attr(cost), ..] = &dense.members[..]
    else {
        panic!()
    };
    assert_eq!(onnx.op_type.as_ref().map(|name| &*name.text), Some("Dense"));
    assert_eq!((&*shift.docs, &*shift.kind.text, &*cost.name.text), ("Of the slope.", "int", "cost"));
    let LayerMember::Params(params) = &dense.members[5] else { panic!() };
    assert!(matches!(&params.clauses[1], LayerClause::Param { storage, .. } if &*storage.text == "i8"));
    let LayerMember::Float(form) = &dense.members[4] else { panic!() };
    assert_eq!((form.operands.len(), form.clauses.len()), (3, 2));
    assert_eq!(short.members.len(), 4);
    let once = laid_out(LAYER);
    assert_eq!(laid_out(&once), once);
    assert!(once.starts_with(LAYER.split("layer Short").next().unwrap()), "{once}");
    let messy = LAYER.replace("    let", "let").replace(" => ", "=>").replace("  attr", "attr");
    assert_eq!(laid_out(&messy), once);
}

#[test]
fn errors_in_a_layer_leave_the_others_alone() {
    let text = r#"layer A {
  onnx com 2
  attr a
  cost layers
  float x { => x }
  params { let = 1 => i8 {scale = s} }
  integer (x) { => }
}
layer B {
  onnx "a" 1
  bogus 2
}
ruleset c {
  contract
}
"#;
    let found = faults(text);
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 11, 15], "{found:#?}");
}
