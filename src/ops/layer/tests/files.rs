//! Layers in ONNX files: names, order of parameters, bodies, and reading them back.

use crate::ir::{Attrs, Kind};
use crate::ops::testing::{Operand, lift, lower, tensor};
use crate::ops::{BRAINCHIP, Bound, Lowered, OnnxAttr, OnnxFunction, OnnxNode, OpError};
use crate::tensor::{AffineGrid, Grid, Tensor};

fn ones(sizes: &[usize]) -> Option<Tensor> {
    Some(tensor(sizes, vec![1i8; sizes.iter().product()]))
}

fn input_conv() -> (Attrs, Vec<Option<Tensor>>) {
    let attrs = Attrs::new()
        .with("pads", vec![1, 2, 3, 4])
        .with("pool", "MaxPool")
        .with("pool_size", vec![2, 2])
        .with("activation", "ReLUClipped");
    let operands = vec![
        Some(tensor(&[1, 2, 3, 3], vec![7u8; 18])),
        ones(&[3, 2, 2, 2]),
        Some(tensor(&[3], [5i32, -6, 7])),
        Some(tensor(&[2], [128i32, 3])),
        Some(tensor(&[1, 3, 1, 1], [10i32, 20, 30])),
        Some(tensor(&[1, 3, 1, 1], [1u8, 2, 3])),
        Some(tensor(&[1, 3, 1, 1], [1f32, 2.0, 4.0])),
    ];
    (attrs, operands)
}

fn layer(op: &str, attrs: Attrs, operands: &[Option<Tensor>]) -> (OnnxNode, Bound, OnnxFunction) {
    let (Lowered::Layer { node, bound, function, .. }, _) = lower(op, attrs, operands) else {
        panic!("{op} is no layer")
    };
    let body = function(&node.op_type, bound).unwrap();
    (node, bound, body)
}

fn op_types(function: &OnnxFunction) -> Vec<&str> {
    function.nodes.iter().map(|node| node.op_type.as_str()).collect()
}

#[test]
fn parameters_come_in_the_order_of_the_format() {
    let (attrs, operands) = input_conv();
    let (Lowered::Layer { node, .. }, initializers) = lower("QuantizedConv2D", attrs, &operands) else {
        panic!("no layer")
    };
    assert_eq!(node.op_type, "QuantizedInputConv2DBiasedMaxPoolReLUClippedScaled");
    assert_eq!(node.domain, BRAINCHIP);
    assert_eq!(node.inputs, ["x0", "x3", "x1", "x2", "node_pads", "x4", "x5", "x6"]);
    let names: Vec<&String> = node.attrs.keys().collect();
    assert_eq!(names, ["pool_pads", "pool_size", "pool_strides", "scale", "strides"]);
    assert_eq!(node.attrs["scale"], OnnxAttr::Tensor(Tensor::vector(vec![2f64])));
    let pads = Tensor::vector(vec![0i64, 0, 1, 2, 0, 0, 3, 4]);
    assert_eq!(initializers, [("node_pads".to_owned(), pads)]);
}

#[test]
fn function_parameters_match_the_inputs_of_the_node() {
    let (attrs, operands) = input_conv();
    let (node, _, body) = layer("QuantizedConv2D", attrs, &operands);
    let names = ["X", "x_pad_value", "W", "bias", "pads", "max_value", "Scale", "Shift"];
    assert_eq!((body.inputs.as_slice(), node.inputs.len()), (&names.map(str::to_owned)[..], names.len()));
    assert_eq!(body.outputs, ["Y"]);
    assert!(body.attrs.iter().all(|attr| node.attrs.contains_key(attr)));
    // What the function refers to is all that the node carries, but for the scale.
    assert_eq!(body.attrs.len() + 1, node.attrs.len());
}

#[test]
fn a_file_is_read_as_what_it_was_written_from() {
    let (attrs, operands) = input_conv();
    let (node, ..) = layer("QuantizedConv2D", attrs.clone(), &operands);
    let pads = tensor(&[8], [0i64, 0, 1, 2, 0, 0, 3, 4]);
    let onnx = |i: usize| operands[i].clone().unwrap();
    let constants = [onnx(3), onnx(1), onnx(2), pads, onnx(4), onnx(5), onnx(6)].map(Operand::Constant);
    let inputs: Vec<Operand> = std::iter::once(Operand::Input(onnx(0))).chain(constants).collect();
    let (graph, value) = lift(&node, 1, &inputs).unwrap();
    let read = graph.node(value.node);
    let Kind::Op { op, attrs: read_attrs } = &read.kind else { panic!("no operator") };
    assert_eq!(&**op, "QuantizedConv2D");
    for (name, value) in attrs.iter() {
        assert_eq!(read_attrs.get(name), Some(value), "{name}");
    }
    for (i, operand) in operands.iter().enumerate().skip(1) {
        let tensor = read.operand(i).and_then(|value| graph.constant(value)).map(|tensor| &**tensor);
        assert_eq!(tensor, operand.as_ref(), "operand {i}");
    }
    let grid = AffineGrid::hardware(crate::tensor::DType::I8, [2.0]);
    assert_eq!(graph.ty(value).grid, Grid::Affine(grid));
}

#[test]
fn what_is_out_of_scope_or_odd_is_refused() {
    let refused = |node: OnnxNode, operands: Vec<Operand>| match lift(&node, 1, &operands) {
        Err(error) => error,
        Ok(_) => panic!("{} was read", node.op_type),
    };
    let node = |op_type: &str| OnnxNode {
        domain: BRAINCHIP.to_owned(),
        ..OnnxNode::new(op_type, &[], &["y"]).attr("scale", OnnxAttr::Tensor(Tensor::vector(vec![1f64])))
    };
    let conv = |pads: Tensor| {
        vec![
            Operand::Input(tensor(&[1, 1, 2, 2], [0i8; 4])),
            Operand::Constant(tensor(&[1, 1, 1, 1], [1i8])),
            Operand::Constant(pads),
            Operand::Constant(tensor(&[1, 1, 1, 1], [1u8])),
            Operand::Constant(tensor(&[1, 1, 1, 1], [1f32])),
        ]
    };
    let name = "QuantizedConv2DScaled";
    let channel_pads = tensor(&[8], [0i64, 1, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(refused(node(name), conv(channel_pads)), OpError::Unsupported { .. }));
    let pads = || tensor(&[8], [0i64; 8]);
    let mut long = conv(pads());
    long.push(Operand::Constant(tensor(&[1], [1i8])));
    assert!(matches!(refused(node(name), long), OpError::Arity { .. }));
    let mut short = conv(pads());
    short.pop();
    assert!(matches!(refused(node(name), short), OpError::MissingOperand { .. }));
    let odd = node(name).attr("scale", OnnxAttr::Int(3));
    assert!(matches!(refused(odd, conv(pads())), OpError::Unsupported { .. }));
    let mut wide = conv(pads());
    wide[3] = Operand::Constant(tensor(&[1, 1, 1, 1], [256i32]));
    assert!(matches!(refused(node(name), wide), OpError::Unsupported { .. }));
}

/// QuantizeML 0.7 and 0.8 leave out `Scaled` and the scales, and store multipliers and divisors as int32.
#[test]
fn files_of_older_versions_are_read() {
    let older =
        OnnxNode { domain: BRAINCHIP.to_owned(), ..OnnxNode::new("QuantizedConv2DReLU", &[], &["y"]) };
    let operands = vec![
        Operand::Input(tensor(&[1, 1, 1, 2], [-4i8, 100])),
        Operand::Constant(tensor(&[1, 1, 1, 1], [1i8])),
        Operand::Constant(tensor(&[8], [0i64; 8])),
        Operand::Constant(tensor(&[1, 1, 1, 1], [200i32])),
        Operand::Constant(tensor(&[1, 1, 1, 1], [256i32])),
    ];
    let (graph, value) = lift(&older, 1, &operands).unwrap();
    assert_eq!(graph.ty(value).grid, Grid::Plain(crate::tensor::DType::I8));
    let y = crate::ops::testing::eval_graph(&graph, Some(tensor(&[1, 1, 1, 2], [-4i8, 100])), value);
    assert_eq!(y, Ok(tensor(&[1, 1, 1, 2], [0i8, 78])));
}

#[test]
fn bodies_follow_the_bound() {
    let (attrs, operands) = input_conv();
    let (Lowered::Layer { node, bound, function, .. }, _) = lower("QuantizedConv2D", attrs, &operands) else {
        panic!("no layer")
    };
    // 2 * 4 taps of weight 1 on at most 255, and the bias.
    assert_eq!(bound, Bound { accumulator: 8 * 255 + 7, ..Bound::default() });
    assert!(op_types(&function(&node.op_type, bound).unwrap()).contains(&"Conv"));
    let large = Bound { accumulator: (1 << 24) + 1, ..bound };
    assert!(op_types(&function(&node.op_type, large).unwrap()).contains(&"ConvInteger"));
    assert!(function(&node.op_type, Bound { foreign_padding: true, ..large }).is_err());
    assert!(function(&node.op_type, Bound { accumulator: 1 << 31, ..bound }).is_err());
    assert!(function(&node.op_type, Bound { pooled: 1 << 45, ..bound }).is_err());
    assert_eq!(large.max(Bound { foreign_padding: true, ..bound }).accumulator, large.accumulator);
}

#[test]
fn padding_beyond_a_byte_counts_in_the_bound() {
    let (attrs, mut operands) = input_conv();
    operands[3] = Some(tensor(&[2], [-1000i32, 3]));
    let (_, bound, _) = layer("QuantizedConv2D", attrs.clone(), &operands);
    let accumulator = 4 * 1000 + 4 * 255 + 7;
    assert_eq!(bound, Bound { accumulator, foreign_padding: true, ..Bound::default() });
    // Without padding it does not matter.
    let attrs = attrs.with("pads", vec![0; 4]);
    let (_, bound, _) = layer("QuantizedConv2D", attrs, &operands);
    assert_eq!(bound, Bound { accumulator: 8 * 255 + 7, ..Bound::default() });
}

#[test]
fn a_global_pool_bounds_its_sum() {
    let attrs = Attrs::new().with("pool", "GlobalAvgPool");
    let m = Some(tensor(&[1, 1, 1, 1], [1u8]));
    let s_out = Some(tensor(&[1, 1, 1, 1], [1f32]));
    let operands = [ones(&[1, 1, 5, 4]), ones(&[1, 1, 2, 1]), None, None, None, m, s_out];
    let (node, bound, body) = layer("QuantizedConv2D", attrs, &operands);
    assert_eq!(node.op_type, "QuantizedConv2DGlobalAvgPoolScaled");
    assert_eq!((bound.accumulator, bound.pooled), (2 * 128, 2 * 128 * 16));
    assert!(op_types(&body).contains(&"ReduceSum"));
}

#[test]
fn other_layers() {
    let per_filter = [Some(tensor(&[1, 2], [1u8, 1])), Some(tensor(&[1, 2], [1f32, 1.0]))];
    let mut dense = vec![ones(&[1, 2, 1, 2]), ones(&[2, 4]), None, None];
    let flatten = || Attrs::new().with("flatten", true);
    let (node, bound, body) = layer("QuantizedDense1D", flatten(), &dense);
    assert_eq!((node.op_type.as_str(), bound.accumulator), ("QuantizedDense1DFlatten", 4 * 128));
    assert_eq!(
        (node.inputs.as_slice(), body.inputs.as_slice()),
        (&["x0", "x1"].map(str::to_owned)[..], &["X", "W"].map(str::to_owned)[..])
    );
    assert_eq!(op_types(&body).last(), Some(&"MatMulInteger"));
    dense.extend(per_filter);
    let (node, ..) = layer("QuantizedDense1D", flatten().with("activation", "ReLU"), &dense);
    assert_eq!(node.op_type, "QuantizedDense1DFlattenReLUScaled");
    assert_eq!(node.inputs, ["x0", "x1", "x4", "x5"]);

    let shift = |v: i32| Some(tensor(&[1, 1], [v]));
    let (node, bound, _) =
        layer("QuantizedAdd", Attrs::new(), &[ones(&[1, 2]), ones(&[1, 2]), shift(4), shift(1)]);
    assert_eq!((node.op_type.as_str(), bound.accumulator), ("QuantizedAdd", 5 * 128));

    let scale = || Some(tensor(&[1], [0.5f32]));
    let (node, _, body) = layer("Dequantizer", Attrs::new(), &[ones(&[1, 2]), scale()]);
    assert_eq!(
        (node.op_type.as_str(), &body.inputs[..]),
        ("Dequantizer", &["X", "scale"].map(str::to_owned)[..])
    );
    let (node, _, body) =
        layer("Dequantizer", Attrs::new(), &[ones(&[1, 2]), scale(), ones(&[1, 3, 1, 1]), scale()]);
    assert_eq!(node.op_type, "Dequantizer2");
    assert_eq!(body.inputs, ["X1", "scale_1", "X2", "scale_2"]);
    assert_eq!((body.outputs.as_slice(), node.outputs.len()), (&["Y1", "Y2"].map(str::to_owned)[..], 2));
}
