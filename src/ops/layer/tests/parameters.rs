//! Scales, weights, biases and shifts (hardware-ops §5), by hand.

use super::{Case, constant};
use crate::ir::{Attrs, Range};
use crate::ops::layer::{dequantizer_scale, input_parameters};
use crate::ops::testing::tensor;
use crate::ops::{LayerOperand, OpError};
use crate::tensor::{AffineGrid, DType, Direction, Tensor};

fn i8_grid(scales: &[f64]) -> AffineGrid {
    AffineGrid::hardware(DType::I8, scales)
}

fn u8_grid(scale: f64, zero: i64) -> AffineGrid {
    AffineGrid {
        storage: DType::U8,
        direction: Direction::IntegerPerReal,
        factors: [scale].into(),
        zeros: [zero].into(),
        axis: None,
    }
}

/// A 1x1 convolution with weight 1 and bias 0.5, on an input of 2 integers per unit.
fn conv() -> Case<'static> {
    Case {
        op: "QuantizedConv2D",
        attrs: Attrs::new(),
        operands: vec![
            Some(tensor(&[1, 1, 3, 2], vec![0f32; 6])),
            Some(tensor(&[1, 1, 1, 1], [1f32])),
            Some(tensor(&[1], [0.5f32])),
        ],
        grids: vec![Some(i8_grid(&[2.0]))],
        range: (&[-1.0], &[0.25]),
        feeds_add: false,
        scaled: true,
    }
}

fn rescale_of(case: &Case) -> (u8, f32, Vec<f64>) {
    let layer = case.quantize().unwrap();
    let m = constant(&layer, "M").elements::<u8>().unwrap()[0];
    let s_out = constant(&layer, "S_out").elements::<f32>().unwrap()[0];
    (m, s_out, layer.grid.factors.to_vec())
}

#[test]
fn convolution_of_int8() {
    let layer = conv().quantize().unwrap();
    // 1 / 2 is the largest of the filter: 254 integers per unit of accumulator.
    assert_eq!(constant(&layer, "Wi"), &tensor(&[1, 1, 1, 1], [127i8]));
    assert_eq!(constant(&layer, "B"), &tensor(&[1], [127i32]));
    // 127 / 254 = 1/2, an exact power of two: one whole bit more.
    assert_eq!(rescale_of(&conv()), (128, 256.0, vec![127.0]));
    assert!(matches!(layer.operands[..], [LayerOperand::Keep(0), _, _, LayerOperand::Absent, ..]));
    assert_eq!((layer.grid.storage, layer.grid.axis), (DType::I8, None));
}

#[test]
fn a_result_for_an_addition_is_a_power_of_two() {
    // 1 / 254 = 129 / 2^15; the largest magnitude 1 takes one whole bit: 2^6.
    assert_eq!(rescale_of(&Case { feeds_add: true, ..conv() }), (129, 512.0, vec![64.0]));
    // 2^-40 is finer than 7 fractional bits: the clamp holds.
    let tiny = Case { feeds_add: true, range: (&[0.0], &[1e-12]), ..conv() };
    assert_eq!(rescale_of(&tiny), (129, 256.0, vec![128.0]));
    // 80,000 / 127 = 157 * 2^2: the grid of 2^6 is 2^8 times as fine.
    let coarse = tensor(&[1, 1, 1, 1], [160_000f32]);
    let mut saturating = Case { feeds_add: true, ..conv() };
    saturating.operands[1] = Some(coarse);
    assert!(matches!(saturating.quantize(), Err(OpError::Unsupported { .. })));
}

#[test]
fn a_global_pool_divides_in_the_rescaling() {
    let pooled = Case { attrs: Attrs::new().with("pool", "GlobalAvgPool"), ..conv() };
    // 1 / 2 over 6 positions: 1/12 = 170.67 / 2^11.
    assert_eq!(rescale_of(&pooled), (171, 2048.0, vec![127.0]));
}

#[test]
fn a_ceiling_is_on_the_grid_of_the_accumulator() {
    let attrs = Attrs::new().with("activation", "ReLUClipped").with("max_value", 6.0);
    let layer = Case { attrs, ..conv() }.quantize().unwrap();
    // 6 * 254 = 1524 in 8 bits of mantissa.
    assert_eq!(constant(&layer, "max_value"), &tensor(&[1, 1, 1, 1], [1520i32]));
    assert_eq!(layer.attrs.get("max_value"), None);
    assert_eq!(layer.attrs.get_str("activation"), Some("ReLUClipped"));
}

#[test]
fn zero_points_are_folded_into_the_bias() {
    let mut case = Case { grids: vec![Some(u8_grid(2.0, 10))], ..conv() };
    let layer = case.quantize().unwrap();
    // 0.5 - 10 * 127 / 254 = -4.5; times 254 = -1143 in 7 bits: 2^4 steps.
    assert_eq!(constant(&layer, "B"), &tensor(&[1], [-1136i32]));
    assert_eq!(constant(&layer, "Xpad"), &tensor(&[1], [10i32]));
    case.operands =
        case.operands.iter().take(2).cloned().chain([None, Some(tensor(&[1], [-3f32]))]).collect();
    let layer = case.quantize().unwrap();
    assert_eq!(constant(&layer, "B"), &tensor(&[1], [-1264i32]));
    assert_eq!(constant(&layer, "Xpad"), &tensor(&[1], [4i32]));
}

#[test]
fn scales_of_channels_meet_their_weights() {
    // Weights 1 and 3 on inputs of 1 and 6 per unit: 1 and 1/2.
    let mut case = Case { grids: vec![Some(i8_grid(&[1.0, 6.0]))], ..conv() };
    case.operands[0] = Some(tensor(&[1, 2, 1, 1], [0f32; 2]));
    case.operands[1] = Some(tensor(&[1, 2, 1, 1], [1f32, 3.0]));
    assert_eq!(constant(&case.quantize().unwrap(), "Wi"), &tensor(&[1, 2, 1, 1], [127i8, 64]));
    // Depthwise: each filter by its own channel, and its own accumulator.
    case.op = "QuantizedDepthwise2D";
    case.operands[1] = Some(tensor(&[2, 1, 1, 1], [1f32, -3.0]));
    case.operands[2] = Some(tensor(&[2], [1f32, 1.0]));
    let layer = case.quantize().unwrap();
    assert_eq!(constant(&layer, "Wi"), &tensor(&[2, 1, 1, 1], [127i8, -127]));
    assert_eq!(constant(&layer, "B"), &tensor(&[2], [127i32, 254]));
    // Dense after flattening: two channels of two positions.
    let dense = Case {
        op: "QuantizedDense1D",
        attrs: Attrs::new().with("flatten", true),
        operands: vec![Some(tensor(&[1, 2, 1, 2], [0f32; 4])), Some(tensor(&[1, 4], [1f32, 0.5, 6.0, 1.5]))],
        ..case
    };
    assert_eq!(constant(&dense.quantize().unwrap(), "Wi"), &tensor(&[1, 4], [127i8, 64, 127, 32]));
}

#[test]
fn a_dense_layer_that_nothing_reads_keeps_its_accumulator() {
    let dense = Case {
        op: "QuantizedDense1D",
        operands: vec![Some(tensor(&[1, 1], [0f32])), Some(tensor(&[1, 1], [1f32])), None],
        scaled: false,
        ..conv()
    };
    let layer = dense.quantize().unwrap();
    assert_eq!((layer.grid.storage, &layer.grid.factors[..]), (DType::I32, &[254.0][..]));
    assert!(matches!(layer.operands[2..], [LayerOperand::Absent, LayerOperand::Absent]));
}

fn add(grids: [&[f64]; 2], scaled: bool) -> Case<'static> {
    Case {
        op: "QuantizedAdd",
        operands: vec![Some(tensor(&[1, 2, 1, 1], [0f32; 2])); 2],
        grids: grids.map(|scales| Some(i8_grid(scales))).to_vec(),
        range: (&[-1.5, 0.0], &[1.0, 9.0]),
        scaled,
        ..conv()
    }
}

#[test]
fn additions_take_the_finer_grid() {
    let layer = add([&[4.0, 16.0], &[8.0]], true).quantize().unwrap();
    assert_eq!(constant(&layer, "x1_shift"), &tensor(&[1, 2, 1, 1], [2i32, 1]));
    assert_eq!(constant(&layer, "x2_shift"), &tensor(&[1, 2, 1, 1], [1i32, 2]));
    // 1.5 and 9 leave 6 and 3 of 7 bits: grids 64 and 8, from 8 and 16.
    assert_eq!(constant(&layer, "S_out"), &tensor(&[1, 2, 1, 1], [0.125f32, 2.0]));
    assert_eq!(layer.grid, i8_grid(&[64.0, 8.0]));
    let layer = add([&[4.0], &[8.0]], false).quantize().unwrap();
    assert_eq!(layer.grid, AffineGrid::hardware(DType::I32, [8.0]));
    let odd = add([&[4.0], &[7.0]], true).quantize();
    assert!(matches!(odd, Err(OpError::Unsupported { .. })));
}

#[test]
fn concatenations_keep_the_scale_of_each_channel() {
    let concat = Case { op: "QuantizedConcat", ..add([&[3.0], &[5.0, 7.0]], true) };
    assert_eq!(concat.quantize().unwrap().grid, i8_grid(&[3.0, 3.0, 5.0, 7.0]));
}

#[test]
fn what_the_device_cannot_hold_is_refused_with_a_way_out() {
    let way_out = |case: Case| match case.quantize() {
        Err(OpError::Unsupported { way_out, .. }) => way_out,
        other => panic!("{:?}", other.map(|_| ())),
    };
    let mut padded = conv();
    padded.operands.push(Some(tensor(&[1], [0.5f32])));
    assert!(way_out(padded).is_some_and(|way| way.contains("uint8")));
    let unsigned = vec![Some(u8_grid(2.0, 10))];
    let depthwise = Case { op: "QuantizedDepthwise2D", grids: unsigned.clone(), ..conv() };
    assert!(way_out(depthwise).is_some_and(|way| way.contains("int8")));
    let mut infinite = conv();
    infinite.operands[1] = Some(tensor(&[1, 1, 1, 1], [f32::INFINITY]));
    assert_eq!(way_out(infinite), None);
}

fn range(lowest: &[f32], highest: &[f32]) -> Range {
    Range { lowest: lowest.into(), highest: highest.into() }
}

#[test]
fn the_input_grid() {
    let input = input_parameters(&range(&[-1.0, 2.0], &[1.55, 5.1]), DType::U8, false).unwrap();
    // 255 / 2.55 = 100 up to f32, zero at 100; a strictly positive range starts at 0: 255 / 5.1.
    let scales = [255f32 / (1.55 + 1.0), 255f32 / 5.1];
    assert_eq!(&input.grid.factors[..], &scales.map(f64::from));
    assert_eq!(input.zero, tensor(&[2], [100u8, 0]));
    assert_eq!(&input.grid.zeros[..], &[100, 0]);
    assert_eq!(input.scale, tensor(&[2], scales.map(|s| (1.0 / f64::from(s)) as f32)));

    let input = input_parameters(&range(&[-2.0], &[1.0]), DType::I8, true).unwrap();
    // 63.5 is handed on as 64, but the quantizer itself divides by 1 / 63.5.
    assert_eq!(input.grid, i8_grid(&[64.0]));
    assert_eq!(input.scale, tensor(&[1], [(1.0f64 / 63.5) as f32]));
    assert_eq!(input.zero, tensor(&[1], [0i8]));

    let tiny = input_parameters(&range(&[0.0], &[1e-45]), DType::U8, false).unwrap_err();
    assert!(tiny.to_string().contains("which is too small"), "{tiny}");
    let dead = input_parameters(&range(&[0.0], &[0.0]), DType::I8, false).unwrap();
    assert_eq!(&dead.grid.factors[..], &[f64::from(127.0f32 / 1e-7)]);
    for (lowest, highest) in [(0.0, 0.0), (1.0, -1.0), (-5.0, -1.0)] {
        assert!(input_parameters(&range(&[lowest], &[highest]), DType::U8, false).is_err());
    }
    assert!(input_parameters(&range(&[0.0], &[1.0]), DType::I16, false).is_err());
}

#[test]
fn the_dequantizer_inverts_in_f64() {
    assert_eq!(dequantizer_scale(&i8_grid(&[3.0, 127.0])), Tensor::vector(vec![1f32 / 3.0, 1.0 / 127.0]));
}
