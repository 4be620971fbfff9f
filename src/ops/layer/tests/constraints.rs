//! Every numbered constraint is refused under its label.

use std::collections::BTreeSet;

use super::{LAYERS, run};
use crate::ir::Attrs;
use crate::ops::testing::{infer, labels, tensor, ty};
use crate::ops::{Arithmetic, OpError, Registry};
use crate::tensor::TensorType;

/// Operator, expected label, attributes, operand types (`-` for an absent one).
type Refused<'a> = (&'a str, &'a str, Attrs, &'a [&'a str]);

fn label(result: Result<Vec<TensorType>, OpError>) -> String {
    match result {
        Err(OpError::Constraint { label, .. }) => label.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn refuse((op, expected, attrs, operands): &Refused) {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs.clone()).unwrap();
    let types: Vec<Option<TensorType>> =
        operands.iter().map(|text| (*text != "-").then(|| ty(text))).collect();
    assert_eq!(label(registry.infer(op, &attrs, &types)), *expected, "{op} {operands:?}");
}

fn conv_cases(op: &'static str) -> Vec<Refused<'static>> {
    let with = |name: &str, value: &str| Attrs::new().with(name, value);
    let none = Attrs::new;
    let depthwise = op == "QuantizedDepthwise2D";
    let float: &[&str] = if depthwise {
        &["f32[N, 2, 4, 4]", "f32[2, 1, 3, 3]"]
    } else {
        &["f32[N, 2, 4, 4]", "f32[2, 2, 3, 3]"]
    };
    let mut cases: Vec<Refused> = vec![
        (op, "C2", with("activation", "relu"), float),
        (op, "C2", with("activation", "LUT"), float),
        (op, "C2", with("pool", "AvgPool"), float),
        (op, "C3", with("activation", "ReLUClipped"), float),
        (op, "C3", none().with("max_value", 6.0), float),
        (op, "C3", none().with("pool_size", vec![2, 2]), float),
        (op, "C3", with("activation", "Gelu").with("alpha", 0.5f32), float),
        (op, "C3", none().with("activation_max", 2.0f32), float),
    ];
    let table: &[&str] = if depthwise {
        &[
            "i8[N, 2, 4, 4]",
            "i8[2, 1, 3, 3]",
            "-",
            "-",
            "-",
            "u8[1, 2, 1, 1]",
            "f32[1, 2, 1, 1]",
            "u8[1, 1, 1, 1]",
        ]
    } else {
        &[
            "i8[N, 2, 4, 4]",
            "i8[2, 2, 3, 3]",
            "-",
            "-",
            "-",
            "u8[1, 2, 1, 1]",
            "f32[1, 2, 1, 1]",
            "u8[1, 1, 1, 1]",
        ]
    };
    cases.push((op, "C11", none(), table));
    cases.push((op, "C2", with("activation", "Gelu"), table));
    let integer: [&[&str]; 8] = if depthwise {
        [
            &["u8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "-", "-", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]"],
            &["f32[N, 2, 4, 4]", "f32[2, 1, 3, 3]", "-", "-", "-", "u8[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "u8[2, 1, 3, 3]", "-", "-", "-", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "i32[2]", "-", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "-", "i32[1, 2, 1, 1]", "u8[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "-", "-", "u8[2]", "f32[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "-", "-", "u8[1, 2, 1, 1]", "i32[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "f32[2]", "-", "-", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]"],
        ]
    } else {
        [
            &["f32[N, 2, 4, 4]", "f32[3, 2, 3, 3]", "-", "-", "-", "u8[1, 3, 1, 1]"],
            &[
                "u8[N, 2, 4, 4]",
                "i8[3, 2, 3, 3]",
                "f32[3]",
                "i32[2]",
                "-",
                "u8[1, 3, 1, 1]",
                "f32[1, 3, 1, 1]",
            ],
            &[
                "u8[N, 2, 4, 4]",
                "i8[3, 2, 3, 3]",
                "i32[3]",
                "f32[2]",
                "-",
                "u8[1, 3, 1, 1]",
                "f32[1, 3, 1, 1]",
            ],
            &["i8[N, 2, 4, 4]", "u8[3, 2, 3, 3]", "-", "-", "-", "u8[1, 3, 1, 1]", "f32[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[3, 2, 3, 3]", "-", "i32[2]", "-", "u8[1, 3, 1, 1]", "f32[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[3, 2, 3, 3]", "-", "-", "i32[1, 3, 1, 1]", "u8[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[3, 2, 3, 3]", "-", "-", "-", "i8[1, 3, 1, 1]", "f32[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[3, 2, 3, 3]", "f32[3]", "-", "-", "u8[1, 3, 1, 1]", "f32[1, 3, 1, 1]"],
        ]
    };
    let expected = if depthwise {
        ["C1", "C4", "C5", "C6", "C7", "C8", "C8", "C5"]
    } else {
        ["C4", "C5", "C6", "C5", "C6", "C7", "C8", "C5"]
    };
    cases.extend(expected.into_iter().zip(integer).map(|(label, operands)| (op, label, none(), operands)));
    if depthwise {
        cases.push((op, "C10", none(), &["f32[N, 4, 4, 4]", "f32[2, 2, 3, 3]"]));
    } else {
        cases.push((op, "C1", none(), &["i32[N, 2, 4, 4]", "i8[3, 2, 3, 3]"]));
    }
    cases
}

fn transpose_cases(op: &'static str) -> Vec<Refused<'static>> {
    let with = |name: &str, value: &str| Attrs::new().with(name, value);
    let none = Attrs::new;
    let depthwise = op == "QuantizedDepthwise2DTranspose";
    let float: &[&str] = if depthwise {
        &["f32[N, 2, 4, 4]", "f32[2, 1, 3, 3]"]
    } else {
        &["f32[N, 2, 4, 4]", "f32[2, 2, 3, 3]"]
    };
    let mut cases: Vec<Refused> = vec![
        (op, "C2", with("activation", "LUT"), float),
        (op, "C3", with("activation", "ReLUClipped"), float),
        (op, "C3", none().with("beta", 0.5f32), float),
    ];
    let integer: [&[&str]; 6] = if depthwise {
        [
            &["u8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "-", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]"],
            &["f32[N, 2, 4, 4]", "f32[2, 1, 3, 3]", "-", "-", "u8[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "f32[2]", "-", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "i32[1, 2, 1, 1]", "u8[1, 2, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 1, 3, 3]", "-", "-", "u8[2]", "f32[1, 2, 1, 1]"],
            &[
                "i8[N, 2, 4, 4]",
                "i8[2, 1, 3, 3]",
                "-",
                "-",
                "u8[1, 1, 1, 1]",
                "f32[1, 1, 1, 1]",
                "u8[1, 1, 1, 1]",
            ],
        ]
    } else {
        [
            &["u8[N, 2, 4, 4]", "i8[2, 3, 3, 3]", "-", "-", "u8[1, 3, 1, 1]", "f32[1, 3, 1, 1]"],
            &["f32[N, 2, 4, 4]", "f32[2, 3, 3, 3]", "-", "-", "u8[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 3, 3, 3]", "f32[3]", "-", "u8[1, 3, 1, 1]", "f32[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 3, 3, 3]", "-", "i32[1, 3, 1, 1]", "u8[1, 3, 1, 1]"],
            &["i8[N, 2, 4, 4]", "i8[2, 3, 3, 3]", "-", "-", "u8[1, 3, 1, 1]", "i32[1, 3, 1, 1]"],
            &[
                "i8[N, 2, 4, 4]",
                "i8[2, 3, 3, 3]",
                "-",
                "-",
                "u8[1, 1, 1, 1]",
                "f32[1, 1, 1, 1]",
                "u8[1, 1, 1, 1]",
            ],
        ]
    };
    let expected = ["C1", "C4", "C5", "C6", "C7", "C8"];
    cases.extend(expected.into_iter().zip(integer).map(|(label, operands)| (op, label, none(), operands)));
    if depthwise {
        cases.push((op, "C10", none(), &["f32[N, 4, 4, 4]", "f32[2, 2, 3, 3]"]));
    }
    cases
}

fn temporal_cases() -> Vec<Refused<'static>> {
    let named = || Attrs::new().with("fifo_name", "x_fifo");
    let mut cases = Vec::new();
    for (op, w, f32_w, other, bias) in [
        ("QuantizedBufferTempConv", "i8[2, 6, 1, 1]", "f32[2, 6, 1, 1]", "u8[2, 6, 1, 1]", "i32[2, 1, 1]"),
        ("QuantizedDepthwiseBufferTempConv", "i8[2, 3, 1, 1]", "f32[2, 3, 1, 1]", "u8[2, 3, 1, 1]", "i32[2]"),
    ] {
        let (x, m, s) = ("i8[N, 2, 4, 4]", "u8[1, 2, 1, 1]", "f32[1, 2, 1, 1]");
        let operands: [(&str, Attrs, Vec<&'static str>); 8] = [
            ("C1", named(), vec!["u8[N, 2, 4, 4]", w, "-", "-", m, s]),
            ("C2", named().with("activation", "ReLUClipped"), vec!["f32[N, 2, 4, 4]", f32_w]),
            ("C3", named(), vec!["f32[N, 2, 4, 4]", f32_w, "-", "-", m]),
            ("C4", named(), vec![x, other, "-", "-", m, s]),
            ("C4", named(), vec![x, w, bias, "-", m, s]),
            ("C5", named(), vec![x, w, "-", "-", "u8[2]", s]),
            ("C5", named(), vec![x, w, "-", "-", m, "i32[1, 2, 1, 1]"]),
            ("C6", named(), vec![x, w, "-", "i8[3, 2, 4, 4]", m, s]),
        ];
        // A few texts of a test, which live as long as it.
        cases.extend(operands.map(|(label, attrs, types)| (op, label, attrs, &*types.leak())));
    }
    cases
}

fn cases() -> Vec<Refused<'static>> {
    let none = Attrs::new;
    let (dense, add) = ("QuantizedDense1D", "QuantizedAdd");
    let perm = || Attrs::new().with("perm", vec![0, 1]);
    let mut cases = conv_cases("QuantizedConv2D");
    cases.extend(conv_cases("QuantizedDepthwise2D"));
    cases.extend(transpose_cases("QuantizedConv2DTranspose"));
    cases.extend(transpose_cases("QuantizedDepthwise2DTranspose"));
    cases.extend(temporal_cases());
    cases.extend([
        (dense, "C1", none(), &["u8[N, 4]", "i8[2, 4]"] as &[&str]),
        (dense, "C2", none().with("activation", "Relu"), &["f32[N, 4]", "f32[2, 4]"]),
        (dense, "C3", none().with("activation", "ReLUClipped"), &["f32[N, 4]", "f32[2, 4]"]),
        (dense, "C4", none(), &["f32[N, 4]", "f32[2, 4]", "-", "-", "u8[1, 2]"]),
        (dense, "C5", none(), &["i8[N, 4]", "f32[2, 4]"]),
        (dense, "C5", none(), &["i8[N, 4]", "i8[2, 4]", "f32[2]"]),
        (dense, "C7", none(), &["i8[N, 4]", "i8[2, 4]", "-", "i32[1, 2]"]),
        (dense, "C8", none(), &["i8[N, 4]", "i8[2, 4]", "-", "-", "u8[2]", "f32[1, 2]"]),
        (add, "C1", none(), &["u8[N, 2]", "u8[N, 2]", "i32[1, 2]", "i32[1, 2]"]),
        (add, "C1", none(), &["i8[N, 2]", "f32[N, 2]", "i32[1, 2]", "i32[1, 2]"]),
        (add, "C2", none(), &["f32[N, 2]", "f32[1, 2]"]),
        (add, "C3", none(), &["f32[N, 2]", "f32[N, 2]", "i32[1, 2]"]),
        (add, "C4", none(), &["i8[N, 2]", "i8[N, 2]", "i32[2]", "i32[1, 2]"]),
        (add, "C4", none(), &["i8[N, 2]", "i8[N, 2]", "i32[1, 2]", "i32[1, 1]", "i32[1, 2]"]),
        ("QuantizedConcat", "C1", none(), &["i8[N, 2]", "u8[N, 2]"]),
        ("QuantizedConcat", "C1", none(), &["u8[N, 2]", "u8[N, 2]"]),
        ("InputQuantizer", "C1", perm(), &["bool[N, 2]", "f32[1]", "u8[1]"]),
        ("InputQuantizer", "C2", perm(), &["f32[N, 2, 1]", "f32[1]", "u8[1]"]),
        ("InputQuantizer", "C3", perm(), &["f32[N, 2]", "f32[2]", "u8[1]"]),
        ("InputQuantizer", "C3", perm(), &["f32[N, 2]", "f32[3]", "u8[3]"]),
        ("InputQuantizer", "C3", perm(), &["f32[N, 2]", "f32[1]", "i32[1]"]),
        ("Dequantizer", "C1", none(), &["i8[N, 2]", "f32[1]", "i8[N, 2]"]),
        ("Dequantizer", "C2", none(), &["u8[N, 2]", "f32[1]"]),
        ("Dequantizer", "C3", none(), &["i8[N, 2]", "f32[3]"]),
    ]);
    cases
}

#[test]
fn every_constraint_is_refused_under_its_label() {
    let registry = Registry::built_in();
    let cases = cases();
    cases.iter().for_each(refuse);
    for op in LAYERS {
        let mut documented = labels(&registry.get(op).unwrap().schema);
        // Checked elsewhere: by the operators of the chain, and when a layer runs.
        documented.remove("C0");
        documented.remove("C9");
        let shown: BTreeSet<String> =
            cases.iter().filter(|case| case.0 == op).map(|case| case.1.to_owned()).collect();
        assert_eq!(documented, shown, "{op}");
    }
}

#[test]
fn windows_are_checked_by_the_operators_of_the_chain() {
    let attrs = Attrs::new().with("pool", "MaxPool").with("pool_size", vec![0, 1]);
    let result = infer("QuantizedConv2D", attrs, &[ty("f32[1, 1, 4, 4]"), ty("f32[1, 1, 1, 1]")]);
    assert_eq!(label(result), "C0");
}

#[test]
fn divisors_are_powers_of_two() {
    let x = Some(tensor(&[1, 1], [1i8]));
    let m = Some(tensor(&[1, 1], [1u8]));
    for divisor in [3.0f32, 0.0, -2.0, f32::INFINITY, f32::NAN] {
        let s_out = Some(tensor(&[1, 1], [divisor]));
        let operands = [x.clone(), x.clone(), None, None, m.clone(), s_out];
        let result = run("QuantizedDense1D", &Attrs::new(), &operands, Arithmetic::Exact);
        assert!(matches!(result, Err(OpError::Constraint { label: "C9", .. })), "{divisor}");
    }
}
