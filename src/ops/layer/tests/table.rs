//! Activations by a table (hardware-ops §3, §5.4).

use super::{Case, constant, exact, run};
use crate::ir::Attrs;
use crate::ops::testing::{lower, tensor};
use crate::ops::{Arithmetic, Bound, Lowered, OpError};
use crate::tensor::{AffineGrid, DType, Tensor};

/// The table of the identity, negative indices counted from the end.
fn identity() -> Tensor {
    tensor(&[2048], (0..1024).chain(-1024..0).collect::<Vec<i32>>())
}

fn rescale(m: u8, s: f32) -> [Option<Tensor>; 2] {
    [Some(tensor(&[1, 1, 1, 1], [m])), Some(tensor(&[1, 1, 1, 1], [s]))]
}

#[test]
fn an_index_is_rescaled_saturated_and_counted_from_the_end_where_negative() {
    let x = tensor(&[1, 1, 1, 6], [0i8, 1, -1, -3, 127, -128]);
    let w = tensor(&[1, 1, 1, 1], [100i8]);
    let [m_act, s_act] = rescale(3, 8.0);
    let [m, s_out] = rescale(1, 16.0);
    let attrs = Attrs::new().with("activation", "LUT");
    let operands = [Some(x), Some(w), None, None, None, m, s_out, m_act, s_act, Some(identity())];
    // 0, 37.5, -37.5, -112.5, and beyond both ends, rounded up: 0, 38, -37, -112, 1023, -1024; over 16.
    let y = tensor(&[1, 1, 1, 6], [0i8, 2, -2, -7, 64, -64]);
    assert_eq!(exact("QuantizedConv2D", &attrs, &operands), y);
    assert_eq!(run("QuantizedConv2D", &attrs, &operands, Arithmetic::F32), Ok(y));
}

#[test]
fn a_pool_comes_before_the_table_and_the_sum_of_a_global_pool_after() {
    let x = tensor(&[1, 1, 2, 2], [-4i8, -3, 5, 100]);
    let w = tensor(&[1, 1, 1, 1], [2i8]);
    // The table turns the sign round.
    let table = tensor(&[2048], (0..1024).chain(-1024..0).map(|v: i32| -v).collect::<Vec<i32>>());
    let [one, s] = rescale(1, 1.0);
    let operands = [Some(x), Some(w), None, None, None, one.clone(), s.clone(), one, s, Some(table)];
    let pooled = Attrs::new().with("activation", "LUT").with("pool", "MaxPool").with("pool_size", vec![1, 2]);
    assert_eq!(exact("QuantizedConv2D", &pooled, &operands), tensor(&[1, 1, 2, 1], [6i8, -128]));
    let averaged = Attrs::new().with("activation", "LUT").with("pool", "GlobalAvgPool");
    // 8 + 6 - 10 - 200, saturated.
    assert_eq!(exact("QuantizedConv2D", &averaged, &operands), tensor(&[1, 1, 1, 1], [-128i8]));
}

/// A 1x1 convolution with weight 1, on an input of 2 integers per unit: 254 per unit of accumulator.
fn conv(activation: &str, largest: f32) -> Case<'static> {
    Case {
        op: "QuantizedConv2D",
        attrs: Attrs::new().with("activation", activation).with("activation_max", largest),
        operands: vec![Some(tensor(&[1, 1, 3, 2], vec![0f32; 6])), Some(tensor(&[1, 1, 1, 1], [1f32]))],
        grids: vec![Some(AffineGrid::hardware(DType::I8, [2.0]))],
        range: (&[-1.0], &[1.0]),
        feeds_add: false,
        scaled: true,
    }
}

#[test]
fn the_table_holds_the_activation_as_far_as_its_input_reaches() {
    let layer = Case { attrs: conv("LeakyRelu", 2.0).attrs.with("alpha", 0.25f32), ..conv("LeakyRelu", 2.0) };
    let layer = layer.quantize().unwrap();
    // 511.5 indices per unit: 511.5 / 254 = 129 / 2^6 in 8 bits.
    assert_eq!(constant(&layer, "M_act"), &tensor(&[1, 1, 1, 1], [129u8]));
    assert_eq!(constant(&layer, "S_act"), &tensor(&[1, 1, 1, 1], [64f32]));
    let entries = constant(&layer, "LUT").elements::<i32>().unwrap();
    // The largest value, 2, is 8191; -1024 / 511.5 a quarter of -2.002.
    assert_eq!(
        (entries.len(), entries[0], entries[1023], entries[1024], entries[2047]),
        (2048, 0, 8191, -2050, -2)
    );
    // 127 / 4095.5 = 127 * 2^-12 * (1 + 1/8191): an f32 with 254 / 2^13.
    assert_eq!(constant(&layer, "M"), &tensor(&[1, 1, 1, 1], [254u8]));
    assert_eq!(constant(&layer, "S_out"), &tensor(&[1, 1, 1, 1], [8192f32]));
    assert_eq!(layer.attrs.get_str("activation"), Some("LUT"));
    assert_eq!(
        (layer.attrs.get_float("alpha"), layer.attrs.get_float("activation_max")),
        (Some(0.0), Some(0.0))
    );
}

#[test]
fn what_no_table_holds_is_refused() {
    assert!(matches!(conv("Gelu", 0.0).quantize(), Err(OpError::Unsupported { .. })));
    let infinite =
        Case { attrs: conv("Elu", 200.0).attrs.with("alpha", f32::INFINITY), ..conv("Elu", 200.0) };
    assert!(matches!(infinite.quantize(), Err(OpError::Unsupported { .. })));
}

#[test]
fn nodes_and_bodies_have_the_table_in_its_place() {
    let [m, s] = rescale(1, 2.0);
    let x = Some(tensor(&[1, 1, 2, 2], [1i8; 4]));
    let w = Some(tensor(&[1, 1, 1, 1], [1i8]));
    let operands =
        [x, w, Some(tensor(&[1], [3i32])), None, None, m.clone(), s.clone(), m, s, Some(identity())];
    let attrs = Attrs::new().with("activation", "LUT").with("pool", "GlobalAvgPool");
    let (Lowered::Layer { node, bound, function, .. }, _) = lower("QuantizedConv2D", attrs, &operands) else {
        panic!("no layer")
    };
    assert_eq!(node.op_type, "QuantizedConv2DBiasedGlobalAvgPoolLUTScaled");
    assert_eq!(node.inputs, ["x0", "x1", "x2", "node_pads", "x7", "x8", "x9", "x5", "x6"]);
    // What is summed are entries of 14 bits.
    assert_eq!(bound, Bound { accumulator: 128 + 3, pooled: 4 * 8192, ..Bound::default() });
    let body = function(&node.op_type, bound).unwrap();
    let inputs = ["X", "W", "bias", "pads", "ActScale", "ActShift", "LUT_values", "Scale", "Shift"];
    assert_eq!(body.inputs, inputs);
    assert!(body.nodes.iter().any(|node| node.op_type == "Gather"));
}
