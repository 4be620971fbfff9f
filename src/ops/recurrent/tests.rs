use super::super::testing::*;
use super::super::{OnnxNode, Registry};
use super::*;
use crate::ir::Graph;

const NAMES: [&str; 3] = ["gru", "lstm", "rnn"];

fn results(op: &str, attrs: Attrs, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let registry = Registry::built_in();
    registry.eval(op, &registry.complete(op, attrs)?, operands, Arithmetic::Exact)
}

fn floats_of(tensor: &Tensor) -> Vec<f32> {
    tensor.elements::<f32>().unwrap().to_vec()
}

/// All functions are x itself, so that a layer can be worked out by hand.
fn linear(op: &str) -> Attrs {
    let names = &["f", "g", "h"][..match op {
        "rnn" => 1,
        "gru" => 2,
        _ => 3,
    }];
    let attrs = Attrs::new().with("alpha", vec![1.0f32; names.len()]).with("beta", vec![0.0f32; names.len()]);
    names.iter().fold(attrs, |attrs, name| attrs.with(name, "Affine"))
}

/// Some numbers of both signs.
fn ramp(sizes: &[usize], step: f32) -> Tensor {
    let count = sizes.iter().product::<usize>();
    tensor(sizes, (0..count).map(|i| ((i * 7 % 13) as f32 - 6.0) * step).collect::<Vec<f32>>())
}

/// Operands of a layer over 4 steps of 2 sequences, with biases and an initial state.
fn layer(op: &str, directions: usize) -> Vec<Option<Tensor>> {
    let gates = match op {
        "rnn" => 1,
        "gru" => 3,
        _ => 4,
    };
    let mut operands = vec![
        Some(ramp(&[4, 2, 3], 0.25)),
        Some(ramp(&[directions, gates * 2, 3], 0.125)),
        Some(ramp(&[directions, gates * 2, 2], -0.125)),
        Some(ramp(&[directions, gates * 4], 0.0625)),
        None,
        Some(ramp(&[directions, 2, 2], 0.5)),
    ];
    if op == "lstm" {
        operands.extend([Some(ramp(&[directions, 2, 2], -0.5)), Some(ramp(&[directions, 6], 0.25))]);
    }
    operands
}

#[test]
fn constraints() {
    for (op, gates) in [("gru", 3), ("lstm", 4), ("rnn", 1)] {
        let (w, r) = (format!("f32[1, {}, 3]", gates * 2), format!("f32[1, {}, 2]", gates * 2));
        let (w, r) = (w.as_str(), r.as_str());
        let x = "f32[S, N, 3]";
        let with = |attr: &str, value: &str| Attrs::new().with(attr, value);
        check_labels(
            op,
            &[
                ("C1", Attrs::new(), &["i32[S, N, 3]", w, r]),
                ("C1", Attrs::new(), &[x, "f64[1, 2, 3]", r]),
                ("C1", Attrs::new(), &[x, w, r, "f32[1, 2]", "i64[N]"]),
                ("C2", Attrs::new(), &["f32[S, 3]", w, r]),
                ("C2", Attrs::new(), &[x, w, "f32[2, 2]"]),
                ("C2", Attrs::new(), &[x, "f32[1, 2, 2]", r]),
                ("C2", Attrs::new(), &[x, w, r, "f32[1, 3]"]),
                ("C2", Attrs::new(), &[x, w, "f32[1, 2, 9223372036854775807]"]),
                ("C3", with("direction", "back"), &[x, w, r]),
                ("C3", with("direction", "bidirectional"), &[x, w, r]),
                ("C4", with("f", "Gelu"), &[x, w, r]),
                ("C4", with("f", "Affine"), &[x, w, r]),
                ("C4", Attrs::new().with("beta", vec![1.0f32]), &[x, w, r]),
                ("C5", Attrs::new().with("clip", 0.0f32), &[x, w, r]),
                ("C5", Attrs::new().with("clip", -1.0f32), &[x, w, r]),
            ],
        );
        let types = infer(op, Attrs::new(), &[ty(x), ty(w), ty(r)]).unwrap();
        assert_eq!(types[0], ty("f32[S, 1, N, 2]"));
        assert!(types[1..].iter().all(|state| *state == ty("f32[1, N, 2]")));
        assert_eq!(types.len(), if op == "lstm" { 3 } else { 2 });
        assert_unknown_size(infer(op, Attrs::new(), &[ty("f32[S, N, I]"), ty(w), ty(r)]));
    }
    let state = infer("rnn", Attrs::new(), &["f32[S, N, 3]", "f32[1, 2, 3]", "f32[1, 2, 2]"].map(ty));
    assert!(state.is_ok());
}

#[test]
fn one_unit_by_hand() {
    let one = |values: &[f32]| Some(tensor(&[1, values.len(), 1], values));
    let row = |values: &[f32]| Some(tensor(&[1, values.len()], values));
    let x = || Some(tensor(&[2, 1, 1], [1.0f32, 2.0]));
    let y = results("rnn", linear("rnn"), &[x(), one(&[3.0]), one(&[10.0]), row(&[1.0, 0.5])]).unwrap();
    assert_eq!([floats_of(&y[0]), floats_of(&y[1])], [vec![4.5, 52.5], vec![52.5]]);

    // i = x, o = 2 x, e = 3 x, a3 = 4 x; C = e C + i a3, y = o C.
    let (w, r) = (one(&[1.0, 2.0, 3.0, 4.0]), one(&[0.0; 4]));
    let y = results("lstm", linear("lstm"), &[x(), w.clone(), r.clone()]).unwrap();
    assert_eq!(y.iter().map(floats_of).collect::<Vec<_>>(), [vec![8.0, 160.0], vec![160.0], vec![40.0]]);
    // e = 1 - i.
    let coupled = linear("lstm").with("input_forget", true);
    let y = results("lstm", coupled, &[x(), w.clone(), r.clone()]).unwrap();
    assert_eq!(floats_of(&y[2]), [12.0]);
    // With C from 1: i = x + C, e = 3 x + C; o = 2 x + 10 C'.
    let begun = [x(), w, r, None, None, None, one(&[1.0]), row(&[1.0, 10.0, 1.0])];
    let y = results("lstm", linear("lstm"), &begun).unwrap();
    let (c1, c2) = (4.0 + 2.0 * 4.0, (6.0 + 12.0) * 12.0 + (2.0 + 12.0) * 8.0);
    assert_eq!(floats_of(&y[0]), [(2.0 + 10.0 * c1) * c1, (4.0 + 10.0 * c2) * c2]);
    assert_eq!(floats_of(&y[2]), [c2]);

    // z = 0, q = 2: a = x + (q H) * 3 + b2 + b5, or a = x + q (H * 3 + b5) + b2.
    let gru = |linear_before_reset: bool| {
        let attrs = linear("gru").with("linear_before_reset", linear_before_reset);
        let b = row(&[0.0, 2.0, 0.5, 0.0, 0.0, 0.25]);
        let y = results("gru", attrs, &[x(), one(&[0.0, 0.0, 1.0]), one(&[0.0, 0.0, 3.0]), b]).unwrap();
        floats_of(&y[0])
    };
    assert_eq!(gru(false), [1.75, 2.0 + 10.5 + 0.75]);
    assert_eq!(gru(true), [2.0, 2.0 + 2.0 * 6.25 + 0.5]);
}

#[test]
fn clip_bounds_what_functions_are_of() {
    let one = |values: &[f32]| Some(tensor(&[1, values.len(), 1], values));
    let x = Some(tensor(&[3, 1, 1], [1.0f32, -1.0, 0.25]));
    let attrs = linear("rnn").with("clip", 0.5f32);
    let y = results("rnn", attrs, &[x, one(&[1.0]), one(&[0.0])]).unwrap();
    assert_eq!(floats_of(&y[0]), [0.5, -0.5, 0.25]);
    // Not the cell that h is of.
    let attrs = linear("lstm").with("clip", 2.0f32);
    let x = Some(tensor(&[1, 1, 1], [5.0f32]));
    let y = results("lstm", attrs, &[x, one(&[1.0; 4]), one(&[0.0; 4])]).unwrap();
    assert_eq!([floats_of(&y[0]), floats_of(&y[2])], [[8.0], [4.0]]);
}

#[test]
fn functions_have_their_parameters() {
    let value = |name: &str, alpha: &[f32], beta: &[f32], x: f32| {
        let functions = activation::functions(&[name], alpha, beta).unwrap();
        assert_eq!(functions[0].apply(f64::from(x)) as f32, functions[0].apply(x), "{name}");
        functions[0].apply(x)
    };
    assert_eq!(value("Affine", &[2.0], &[3.0], 4.0), 11.0);
    assert_eq!(value("leakyrelu", &[0.5], &[], -2.0), -1.0);
    assert_eq!(value("Relu", &[], &[], -2.0), 0.0);
    assert_eq!(value("ScaledTanh", &[2.0], &[0.0], 1.0), 0.0);
    assert_eq!(value("HardSigmoid", &[0.25], &[0.5], 1.0), 0.75);
    assert_eq!([1.0, 0.5].map(|x| value("ThresholdedRelu", &[], &[], x)), [1.0, 0.0]);
    assert_eq!(value("Softsign", &[], &[], 1.0), 0.5);
    // Each takes the next entry; or all have one of their own.
    let three = ["HardSigmoid", "Tanh", "LeakyRelu"];
    let taken = |alpha: &[f32]| {
        let functions = activation::functions(&three, &activation::taken(&three, 0, alpha), &[])?;
        Ok::<_, String>([functions[0].parameters[0], functions[2].parameters[0]])
    };
    assert_eq!(taken(&[0.5, 0.25]), Ok([0.5, 0.25]));
    assert_eq!(taken(&[0.5]), Ok([0.5, 0.01]));
    assert_eq!(taken(&[0.5, 0.25, 0.25]), Ok([0.5, 0.25]));
    for unclear in [&[0.5, 0.25, 0.75][..], &[0.5, 0.25, 0.25, 0.25], &[f32::NAN]] {
        assert!(taken(unclear).is_err(), "{unclear:?}");
    }
    assert!(activation::functions(&["ScaledTanh"], &[1.0], &[]).is_err());
}

/// The steps of a layer's result in the opposite order.
fn turned(y: &Tensor) -> Tensor {
    let steps = y.sizes()[0] as i64;
    let attrs = Attrs::new().with("axes", vec![0]).with("starts", vec![steps - 1]);
    eval("slice", attrs.with("sizes", vec![steps]).with("steps", vec![-1]), std::slice::from_ref(y)).unwrap()
}

/// Part `at` of an operand with both directions.
fn half(both: &Option<Tensor>, at: usize) -> Option<Tensor> {
    let attrs = Attrs::new().with("axes", vec![0]).with("starts", vec![at as i64]);
    let one = both.clone()?;
    Some(eval("slice", attrs.with("sizes", vec![1]).with("steps", vec![1]), &[one]).unwrap())
}

#[test]
fn directions() {
    for op in NAMES {
        let to = |direction: &str| Attrs::new().with("direction", direction);
        let mut back = layer(op, 1);
        let reverse = results(op, to("reverse"), &back).unwrap();
        back[0] = back[0].as_ref().map(turned);
        let forward = results(op, to("forward"), &back).unwrap();
        assert_eq!(turned(&reverse[0]), forward[0], "{op}");
        assert_eq!(reverse[1..], forward[1..], "{op}");

        let both = layer(op, 2);
        let whole = results(op, to("bidirectional"), &both).unwrap();
        let halves: Vec<Vec<Tensor>> = ["forward", "reverse"]
            .into_iter()
            .enumerate()
            .map(|(at, direction)| {
                let mut own: Vec<Option<Tensor>> = both.iter().map(|operand| half(operand, at)).collect();
                own[0].clone_from(&both[0]);
                results(op, to(direction), &own).unwrap()
            })
            .collect();
        for (at, result) in whole.iter().enumerate() {
            let axis = Attrs::new().with("axis", i64::from(at == 0));
            let joined = eval("concat", axis, &[halves[0][at].clone(), halves[1][at].clone()]).unwrap();
            assert_eq!(*result, joined, "{op}");
        }
    }
}

#[test]
fn sequences_end_early() {
    for op in NAMES {
        for direction in ["forward", "reverse"] {
            let attrs = || Attrs::new().with("direction", direction);
            let mut operands = layer(op, 1);
            operands[4] = Some(tensor(&[2], [4i32, 2]));
            let whole = results(op, attrs(), &operands).unwrap();
            // The second sequence, by itself and as long as it is.
            operands[4] = None;
            for position in [0, 5, 6] {
                let Some(Some(operand)) = operands.get(position) else { continue };
                let axes = if position == 0 { vec![0, 1] } else { vec![1] };
                let sizes = if position == 0 { vec![2, 1] } else { vec![1] };
                let starts = if position == 0 { vec![0, 1] } else { vec![1] };
                let part =
                    Attrs::new().with("axes", axes.clone()).with("starts", starts).with("sizes", sizes);
                let part =
                    eval("slice", part.with("steps", vec![1; axes.len()]), std::slice::from_ref(operand))
                        .unwrap();
                operands[position] = Some(part);
            }
            let own = results(op, attrs(), &operands).unwrap();
            let (y, own_y) = (floats_of(&whole[0]), floats_of(&own[0]));
            for step in 0..4 {
                let expected = own_y.get(step * 2..step * 2 + 2).unwrap_or(&[0.0, 0.0]);
                assert_eq!(y[step * 4 + 2..step * 4 + 4], *expected, "{op} {direction} {step}");
            }
            for (state, own) in whole.iter().zip(&own).skip(1) {
                assert_eq!(floats_of(state)[2..], floats_of(own), "{op} {direction}");
            }
        }
        let mut operands = layer(op, 1);
        for lengths in [[5, 1], [-1, 1], [0, 1]] {
            operands[4] = Some(tensor(&[2], lengths));
            assert_eq!(broken(results(op, Attrs::new(), &operands)), "C6", "{op} {lengths:?}");
        }
        // Nothing is left of a sequence of no steps, if there was nothing before.
        operands[5..].fill(None);
        operands[4] = Some(tensor(&[2], [0i32, 1]));
        let y = results(op, Attrs::new(), &operands).unwrap();
        assert_eq!(floats_of(&y[1])[..2], [0.0, 0.0], "{op}");
    }
}

#[test]
fn sizes_of_zero() {
    for (op, gates) in [("gru", 3), ("lstm", 4), ("rnn", 1)] {
        for [steps, batch, features, hidden] in [[0, 2, 3, 2], [2, 0, 3, 2], [2, 2, 0, 2], [2, 2, 3, 0]] {
            let operands = [
                ramp(&[steps, batch, features], 1.0),
                ramp(&[1, gates * hidden, features], 1.0),
                ramp(&[1, gates * hidden, hidden], 1.0),
            ];
            let y = results(op, Attrs::new(), &operands.map(Some)).unwrap();
            assert_eq!(y[0].sizes(), [steps, 1, batch, hidden]);
            assert_eq!(y[1], tensor(&[1, batch, hidden], vec![0.0f32; batch * hidden]));
        }
        // More steps than could be gone through, each of nothing.
        let operands = [ramp(&[1 << 60, 2, 0], 1.0), ramp(&[1, 0, 0], 1.0), ramp(&[1, 0, 0], 1.0)];
        let y = results(op, Attrs::new(), &operands.map(Some)).unwrap();
        assert_eq!(y[1].sizes(), [1, 2, 0]);
    }
}

fn lifted(node: &OnnxNode, opset: i64, operands: &[Option<Tensor>]) -> Result<(Graph, Tensor), OpError> {
    let given = |operand: &Option<Tensor>| operand.clone().map_or(Operand::Absent, Operand::Input);
    let (graph, y) =
        super::super::testing::lift(node, opset, &operands.iter().map(given).collect::<Vec<_>>())?;
    let inputs: Vec<Tensor> = operands.iter().flatten().cloned().collect();
    let y = eval_graph(&graph, inputs, y)?;
    Ok((graph, y))
}

#[test]
fn what_is_written_is_read_back() {
    for op in NAMES {
        let mut operands = layer(op, 2);
        operands[4] = Some(tensor(&[2], [4i32, 2]));
        let attrs = Attrs::new().with("direction", "bidirectional").with("f", "HardSigmoid");
        let attrs = attrs.with("alpha", vec![0.25f32]).with("beta", vec![0.5f32]).with("clip", 1.5f32);
        let operands: Vec<Tensor> = operands.into_iter().flatten().collect();
        let own = eval(op, attrs.clone(), &operands).unwrap();
        assert_eq!(read_back(op, attrs, &operands), own, "{op}");
    }
}

#[test]
fn every_version_is_read() {
    let text = |text: &str| OnnxAttr::Str(text.to_owned());
    let texts = |all: &[&str]| OnnxAttr::Strs(all.iter().map(|&text| text.to_owned()).collect());
    for (op, onnx_name) in NAMES.into_iter().zip(["GRU", "LSTM", "RNN"]) {
        let operands = layer(op, 2);
        let both = ("direction", text("bidirectional"));
        let expected = eval_all(op, Attrs::new().with("direction", "bidirectional"), &operands);
        let node = onnx(onnx_name, &[both.clone(), ("hidden_size", OnnxAttr::Int(2))]);
        assert_eq!(lifted(&node, 7, &operands).unwrap().1, expected, "{op}");
        // Batches first.
        let node = onnx(onnx_name, &[both.clone(), ("layout", OnnxAttr::Int(1))]);
        let mut first = operands.clone();
        let moved = |tensor: &Tensor, perm: Vec<i64>| {
            eval("transpose", Attrs::new().with("perm", perm), std::slice::from_ref(tensor)).unwrap()
        };
        for position in [0, 5, 6].into_iter().filter(|&at| at < operands.len()) {
            first[position] = operands[position].as_ref().map(|tensor| moved(tensor, vec![1, 0, 2]));
        }
        assert_eq!(lifted(&node, 14, &first).unwrap().1, moved(&expected, vec![2, 0, 1, 3]), "{op}");
        assert!(matches!(lifted(&node, 13, &first), Err(OpError::AttrOfOtherVersion { .. })));
        // Functions of their own for each direction make a layer of each.
        let names = ["Sigmoid", "Tanh", "Tanh"];
        let own = if op == "rnn" { &names[1..2] } else { &names[..own_functions(op)] };
        let other = vec!["Relu"; own.len()];
        let node = onnx(onnx_name, &[both.clone(), ("activations", texts(&[own, &other].concat()))]);
        let (graph, y) = lifted(&node, 22, &operands).unwrap();
        let layers = graph.order().into_iter().filter(|&id| graph.node(id).op() == Some(op));
        assert_eq!(layers.count(), 2, "{op}");
        let all = ["f", "g", "h"].into_iter().take(own.len());
        let relu = all.fold(Attrs::new(), |attrs, name| attrs.with(name, "Relu"));
        let back = eval_all(op, relu.with("direction", "bidirectional"), &operands);
        let (y, expected, back) = (floats_of(&y), floats_of(&expected), floats_of(&back));
        for (at, value) in y.into_iter().enumerate() {
            let reverse = at / 4 % 2 == 1;
            assert_eq!(value, if reverse { back[at] } else { expected[at] }, "{op} {at}");
        }
        for wrong in [
            ("hidden_size", OnnxAttr::Int(3)),
            ("layout", OnnxAttr::Int(2)),
            ("activations", texts(&["Tanh"])),
            ("activations", texts(&vec!["Gelu"; own.len() * 2])),
            ("activation_alpha", OnnxAttr::Floats(vec![1.0; 7])),
            ("clip", OnnxAttr::Float(f32::NAN)),
        ] {
            let refused = lifted(&onnx(onnx_name, &[both.clone(), wrong.clone()]), 22, &operands);
            assert!(matches!(refused, Err(OpError::Invalid { .. })), "{op} {wrong:?}");
        }
    }
    // An rnn's default is a list for two.
    let node = onnx("RNN", &[("activations", texts(&["Relu", "Relu"]))]);
    assert!(lifted(&node, 14, &layer("rnn", 1)).is_ok());
    let node = onnx("RNN", &[("activations", texts(&["Relu", "Tanh"]))]);
    assert!(lifted(&node, 14, &layer("rnn", 1)).is_err());
}

fn own_functions(op: &str) -> usize {
    if op == "lstm" { 3 } else { 2 }
}

/// The first result of an application that may lack operands.
fn eval_all(op: &str, attrs: Attrs, operands: &[Option<Tensor>]) -> Tensor {
    results(op, attrs, operands).unwrap().remove(0)
}
