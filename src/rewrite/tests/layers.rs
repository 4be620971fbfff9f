//! Layers that rule files declare.

use super::*;
use crate::ops::layer::expand;
use crate::ops::{Builder, LayerCall, OpError, Quantize};
use crate::tensor::{AffineGrid, TensorType};

const ACME: &str = include_str!("../../../examples/acme/acme.qrules");

/// What loading a file says, by code, line and words, and the operators afterwards.
fn load_file(text: &str) -> (Vec<(&'static str, usize, String)>, Registry) {
    let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
    let read = &mut |_: &std::path::Path| Err("no files".to_owned());
    let found = match load(&mut sources, &mut registry, &[("test.qrules", text)], read) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    let line = |finding: &crate::diag::Diagnostic| match finding.labels.first().map(|label| &label.place) {
        Some(crate::diag::Place::Text(span)) => sources.line_column(*span).0,
        _ => 0,
    };
    let said =
        |finding: &crate::diag::Diagnostic| (finding.code, line(finding), render(finding, &sources, false));
    (found.0.iter().map(said).collect(), registry)
}

fn acme() -> Registry {
    let (found, registry) = load_file(ACME);
    assert!(found.is_empty(), "{found:#?}");
    registry
}

/// The text in which `from` is replaced says what `code` stands for, in the line that has `to`, with a
/// way out.
fn misused(from: &str, to: &str, code: &str, words: &str) {
    assert!(ACME.contains(from), "{from}");
    let text = ACME.replacen(from, to, 1);
    let at = text[..text.find(to.trim()).unwrap_or(0)].lines().count().max(1);
    let (found, registry) = load_file(&text);
    let fitting = found.iter().filter(|(other, line, said)| {
        *other == code
            && (*line == at || *line == at + 1 || to.is_empty() || code == "Q0507")
            && said.contains(words)
    });
    assert_eq!(fitting.count(), 1, "{from} -> {to}: {found:#?}");
    // That the layer is broken is no fault of its readers.
    let readers = |(_, _, said): &(_, _, String)| said.contains("no operator `AcmeDense`");
    assert!(!found.iter().any(readers) || !text.contains("layer AcmeDense {"), "{found:#?}");
    if code != "Q0507" {
        assert!(registry.find("AcmeDense").is_none(), "{to}");
    }
}

#[test]
fn misuse_is_said_with_a_way_out() {
    misused("layer AcmeDense {", "layer relu {", "Q0530", "a name of its own");
    misused("  onnx \"com.acme\" 2\n", "", "Q0531", "has no `onnx`");
    misused("onnx \"com.acme\" 2", "onnx \"com.brainchip\" 2", "Q0532", "a domain of your own");
    misused("onnx \"com.acme\" 2", "onnx \"\" 2", "Q0532", "a domain of your own");
    misused("onnx \"com.acme\" 2", "onnx \"com.acme\" 0", "Q0532", "from 1 on");
    misused("onnx \"com.acme\" 2", "onnx \"com.acme\" 2 as \"\"", "Q0532", "op_type");
    misused("onnx \"com.acme\" 2", "onnx \"com.acme\" 2 onnx \"b\" 1", "Q0501", "defined twice");
    misused("attr shift: int = 3", "attr shift: integer = 3", "Q0534", "kinds are: bool");
    misused("attr shift: int = 3", "attr shift: int = 3.5", "Q0506", "expected int");
    misused("attr shift: int = 3", "attr shift: int = 3 attr shift: int", "Q0501", "defined twice");
    misused("attr shift: int = 3", "attr shift: int = 3 attr scale: int", "Q0534", "the grid of the result");
    misused("attr shift: int = 3", "attr shift: int = 3 attr other: int", "Q0507", "`other`");
    misused("cost layers = 1", "cost layers = 0", "Q0537", "1 to 1000");
    misused("cost layers = 1", "cost layers = 1, time = 2", "Q0537", "no `time`");
    misused("macs = dim(w, 0)", "macs = number(w)", "Q0506", "expected int");
    misused("float (x, w: constant", "float (w: constant, x", "Q0533", "stands behind");
    misused("float (x, w: constant", "float (x?, w: constant", "Q0533", "may be absent");
    misused("float (x, w: constant", "float (x, w: quantized", "Q0533", "no `quantized`");
    misused(
        "float (x, w: constant",
        "float (x: constant, w: constant",
        "Q0533",
        "an operand that both forms have",
    );
    misused("where rank(x) == 2", "where rank(x)", "Q0506", "a condition");
    misused("where rank(x) == 2", "where all_positive(w)", "Q0536", "the elements of `w`");
    misused("let d = dense(x, w, b)", "let d = densee(x, w, b)", "Q0503", "densee");
    misused("let d = dense(x, w, b)", "let d = QuantizedDense1D(x, w, b)", "Q0536", "no layers");
    misused("let d = dense(x, w, b)", "let d = dense(x, w, b) let e = relu(x)", "Q0507", "`e`");
    misused(
        "let d = dense(x, w, b)",
        "let d = dense(x, w, b) e: i8 = relu(x)",
        "Q0536",
        "computed in `params`",
    );
    misused("=> max(d, d * exp2(-shift))", "=> d + shift * unknown", "Q0504", "unknown");
    misused("=> max(d, d * exp2(-shift))", "=> x", "Q0536", "computes nothing");
    misused("let sx = scale_of(x)", "let sx = x * 2.0", "Q0536", "before the network runs");
    misused(
        "wi: i8 = kernel_integers(w, sx)",
        "wi: int8 = kernel_integers(w, sx)",
        "Q0535",
        "storage types are",
    );
    misused(
        "wi: i8 = kernel_integers(w, sx)",
        "wi: i8 = kernel_integers(w, sx, 1)",
        "Q0506",
        "kernel_integers(",
    );
    misused("wi: i8 = kernel", "sx: i8 = kernel", "Q0501", "defined twice");
    misused("=> i8 {scale = sy}", "=> f32 {scale = sy}", "Q0535", "integer storage");
    misused("=> i8 {scale = sy}", "=> i8 {}", "Q0536", "scale = s");
    misused("=> i8 {scale = sy}", "=> i8 {scale = sy, zero = 0}", "Q0536", "no `zero`");
    misused("integer (x: i8) {", "integer (x) {", "Q0533", "write `x: i8`");
    misused("integer (x: i8) {", "integer (x: f32) {", "Q0535", "integer storage");
    misused("integer (x: i8) {", "integer (x: i8, w: i8) {", "Q0533", "(x, w)");
    misused("let acc = dense(x, wi, bi)", "let acc = dense(x, wi)", "Q0507", "`bi`");
    misused("let acc = dense(x, wi, bi)", "let acc = dense(x, w, bi)", "Q0504", "`w`");
}

#[test]
fn domains_have_one_version_and_each_name_once() {
    let layer = &ACME[ACME.find("\nlayer ").unwrap()..ACME.find("\nruleset ").unwrap()];
    let again = |onnx: &str| {
        let other = layer.replace("AcmeDense", "Other").replace("onnx \"com.acme\" 2", onnx);
        let (found, _) = load_file(&format!("{ACME}\n{other}"));
        found.into_iter().map(|(code, ..)| code).collect::<Vec<_>>()
    };
    assert_eq!(again("onnx \"com.acme\" 2"), Vec::<&str>::new());
    assert_eq!(again("onnx \"com.acme\" 3"), ["Q0532"]);
    assert_eq!(again("onnx \"com.acme\" 2 as \"AcmeDense\""), ["Q0532"]);
    let (found, _) = load_file(&format!("{ACME}\n{layer}"));
    assert_eq!(found.iter().map(|(code, ..)| *code).collect::<Vec<_>>(), ["Q0530", "Q0532"]);
}

fn tensor(sizes: &[usize], elements: &[f32]) -> Tensor {
    Tensor::new(sizes, elements.to_vec()).unwrap()
}

fn weights() -> (Tensor, Tensor, Tensor) {
    let x = tensor(&[2, 3], &[1.0, -2.0, 0.5, 0.25, 1.5, -1.0]);
    let w = tensor(&[2, 3], &[0.5, -0.75, 1.0, -1.25, 0.3, 0.1]);
    (x, w, tensor(&[2], &[0.25, -0.5]))
}

#[test]
fn the_float_form_is_the_operators_that_it_stands_for() {
    let registry = acme();
    let (x, w, b) = weights();
    let shift = crate::ir::Attrs::new().with("shift", 2i64);
    let whole = [Some(x.clone()), Some(w.clone()), Some(b.clone())];
    let y = registry.eval("AcmeDense", &shift, &whole, Arithmetic::Exact).unwrap().remove(0);

    let loc = crate::diag::Loc::unknown();
    let mut net = Graph::new("g");
    let input = net.add_input("x", x.tensor_type(), loc.clone());
    let (w, b) = (net.add_const("w", w, loc.clone()), net.add_const("b", b, loc.clone()));
    let mut builder = Builder { graph: &mut net, registry: &registry, loc };
    let operands = [Some(input), Some(w), Some(b)];
    let value = expand(&mut builder, "AcmeDense", &shift, &operands, "y", "layer").unwrap();
    net.add_output("y", value);
    assert_eq!(ops(&net), ["dense", "mul", "max"]);
    let plan = Plan::new(&net, &registry, Arithmetic::Exact).unwrap();
    let feeds = BTreeMap::from([("x".to_owned(), x.clone())]);
    assert_eq!(plan.run(&feeds, &mut |_, _| {}).unwrap(), std::slice::from_ref(&y));

    // In f64 too, and without a bias.
    let wide = |tensor: &Tensor| Some(tensor.cast(DType::F64));
    let f64 = registry.eval(
        "AcmeDense",
        &shift,
        &whole.each_ref().map(|t| wide(t.as_ref().unwrap())),
        Arithmetic::Exact,
    );
    let f64 = f64.unwrap().remove(0);
    let (near, exact) = (y.elements::<f32>().unwrap(), f64.elements::<f64>().unwrap());
    assert!(near.iter().zip(exact).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6));
    assert!(registry.eval("AcmeDense", &shift, &whole[..2], Arithmetic::Exact).is_ok());
}

#[test]
fn the_integer_form_is_close_to_the_float_form() {
    let registry = acme();
    let entry = registry.get("AcmeDense").unwrap();
    let (x, w, b) = weights();
    let attrs = registry.complete("AcmeDense", crate::ir::Attrs::new()).unwrap();
    let types: Vec<Option<TensorType>> = [&x, &w, &b].map(|t| Some(t.tensor_type())).to_vec();
    let operands = [Some(x.clone()), Some(w.clone()), Some(b.clone())];
    let float = registry.eval("AcmeDense", &attrs, &operands, Arithmetic::Exact).unwrap().remove(0);
    let grid = AffineGrid::hardware(DType::I8, vec![60.0]);
    let range = crate::ir::Range { lowest: vec![-1.0].into(), highest: vec![4.0].into() };
    let quantized = |grids: &[Option<&AffineGrid>], ranged: bool| {
        let Quantize::Layer(layer) = entry.operator.quantize() else { panic!("no layer") };
        layer.quantize(&LayerCall {
            call: crate::ops::Call { schema: &entry.schema, attrs: &attrs, operands: &types },
            constants: &[None, Some(&w), Some(&b)],
            grids,
            range: Some(&range).filter(|_| ranged),
            feeds_add: false,
            scaled: true,
        })
    };
    let layer = quantized(&[Some(&grid), None, None], true).unwrap();
    assert_eq!(layer.grid, AffineGrid::hardware(DType::I8, vec![f64::from(127.0f32 / 4.0)]));
    let integers: Vec<i8> = x.elements::<f32>().unwrap().iter().map(|v| (v * 60.0).round() as i8).collect();
    let mut operands = vec![Tensor::new(&[2, 3], integers), None, None];
    for operand in &layer.operands[3..] {
        let crate::ops::LayerOperand::Constant { tensor, .. } = operand else { panic!("no constant") };
        operands.push(Some(tensor.clone()));
    }
    let y = registry.eval("AcmeDense", &layer.attrs, &operands, Arithmetic::Exact).unwrap().remove(0);
    for (integer, float) in y.elements::<i8>().unwrap().iter().zip(float.elements::<f32>().unwrap()) {
        let real = f64::from(*integer) / layer.grid.factors[0];
        assert!((real - f64::from(*float)).abs() < 0.06, "{real} for {float}");
    }
    // Why there is none.
    let reason = |result: Result<_, OpError>| result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(reason(quantized(&[None, None, None], true)).contains("not quantized"));
    assert!(reason(quantized(&[Some(&grid), None, None], false)).contains("range"));
    let u8 = AffineGrid::hardware(DType::U8, vec![60.0]);
    assert!(reason(quantized(&[Some(&u8), None, None], true)).contains("stored as u8, not i8"));
}

#[test]
fn a_condition_of_the_layer_is_named_where_it_fails() {
    let registry = acme();
    let (x, w, b) = weights();
    let types: Vec<Option<TensorType>> = [&x, &w, &b].map(|t| Some(t.tensor_type())).to_vec();
    let infer =
        |shift: i64| registry.infer("AcmeDense", &crate::ir::Attrs::new().with("shift", shift), &types);
    assert!(infer(8).is_ok());
    let error = infer(9).unwrap_err().to_string();
    assert!(error.contains("`shift <= 8`"), "{error}");
}

#[test]
fn costs_come_from_the_declaration_or_from_the_operators() {
    let of = |text: &str| {
        let (found, registry) = load_file(text);
        assert!(found.is_empty(), "{found:#?}");
        let (x, w, _) = weights();
        let types = [Some(x.tensor_type()), Some(w.tensor_type())];
        let attrs = crate::ir::Attrs::new().with("shift", 3i64);
        let entry = registry.get("AcmeDense").unwrap();
        let call = crate::ops::Call { schema: &entry.schema, attrs: &attrs, operands: &types };
        (entry.schema.layers, entry.operator.macs(&call))
    };
    assert_eq!(of(ACME), (1, 6));
    assert_eq!(
        of(&ACME.replace("layers = 1, macs = dim(w, 0) * dim(w, 1)", "layers = 3, macs = 99")),
        (3, 99)
    );
    assert_eq!(of(&ACME.replace("  cost layers = 1, macs = dim(w, 0) * dim(w, 1)\n", "")), (1, 6));
}
