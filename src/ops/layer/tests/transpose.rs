//! Transposed convolutions (hardware-ops §3, §5.2), by hand.

use proptest::prelude::*;

use super::{Case, constant, exact};
use crate::ir::Attrs;
use crate::ops::testing::{eval, lower, tensor};
use crate::ops::{Bound, Lowered};
use crate::tensor::{AffineGrid, DType, Tensor};

fn rescale(m: u8, s: f32) -> [Option<Tensor>; 2] {
    [Some(tensor(&[1, 1, 1, 1], [m])), Some(tensor(&[1, 1, 1, 1], [s]))]
}

#[test]
fn every_input_is_scattered_and_what_meets_is_added() {
    // 1, 2, 3 through 10, 1, -4 with stride 2: 10, 1, -4 + 20, 2, -8 + 30, 3, -12; one cut off at each end.
    let attrs =
        Attrs::new().with("strides", vec![1, 2]).with("pads", vec![0, 1, 0, 1]).with("activation", "ReLU");
    let [m, s_out] = rescale(3, 2.0);
    let operands = [
        Some(tensor(&[1, 1, 1, 3], [1i8, 2, 3])),
        Some(tensor(&[1, 1, 1, 3], [10i8, 1, -4])),
        Some(tensor(&[1], [-2i32])),
        None,
        m,
        s_out,
    ];
    // -1, 14, 0, 20, 1; relu; times 3 / 2, ties up.
    let y = tensor(&[1, 1, 1, 5], [0i8, 21, 0, 30, 2]);
    assert_eq!(exact("QuantizedConv2DTranspose", &attrs, &operands), y);
}

#[test]
fn depthwise_filters_meet_their_own_channel() {
    let m = Some(tensor(&[1, 2, 1, 1], [1u8, 2]));
    let s_out = Some(tensor(&[1, 1, 1, 1], [1f32]));
    let operands = [
        Some(tensor(&[1, 2, 1, 1], [1i8, 2])),
        Some(tensor(&[2, 1, 1, 2], [3i8, 4, 5, -6])),
        None,
        None,
        m,
        s_out,
    ];
    let y = tensor(&[1, 2, 1, 2], [3i8, 4, 20, -24]);
    assert_eq!(exact("QuantizedDepthwise2DTranspose", &Attrs::new(), &operands), y);
}

fn layer(op: &'static str, w: Tensor) -> Case<'static> {
    Case {
        op,
        attrs: Attrs::new(),
        operands: vec![Some(tensor(&[1, 2, 1, 1], [0f32; 2])), Some(w), Some(tensor(&[2], [0.5f32, -0.5]))],
        grids: vec![Some(AffineGrid::hardware(DType::I8, [1.0, 6.0]))],
        range: (&[-1.0], &[1.0]),
        feeds_add: false,
        scaled: true,
    }
}

#[test]
fn filters_are_axis_1_and_a_depthwise_kernel_has_one_scale() {
    // Filter 0: 1 and 3 / 6; filter 1: 2 and 12 / 6.
    let layer_of = layer("QuantizedConv2DTranspose", tensor(&[2, 2, 1, 1], [1f32, 2.0, 3.0, 12.0]));
    let quantized = layer_of.quantize().unwrap();
    assert_eq!(constant(&quantized, "Wi"), &tensor(&[2, 2, 1, 1], [127i8, 127, 64, 127]));
    assert_eq!(constant(&quantized, "B"), &tensor(&[2], [64i32, -32]));
    assert_eq!(constant(&quantized, "M").sizes(), [1, 2, 1, 1]);
    // 1 and 3 / 6 of one kernel.
    let layer_of = layer("QuantizedDepthwise2DTranspose", tensor(&[2, 1, 1, 1], [1f32, 3.0]));
    let quantized = layer_of.quantize().unwrap();
    assert_eq!(constant(&quantized, "Wi"), &tensor(&[2, 1, 1, 1], [127i8, 64]));
    assert_eq!(constant(&quantized, "B"), &tensor(&[2], [64i32, -64]));
    assert_eq!(constant(&quantized, "M").sizes(), [1, 1, 1, 1]);
}

#[test]
fn bodies_follow_the_bound() {
    let [m, s_out] = rescale(1, 2.0);
    let operands = [
        Some(tensor(&[1, 2, 1, 1], [1i8, 1])),
        Some(tensor(&[2, 1, 1, 2], [-17i8, 100, 5, -6])),
        None,
        None,
        m,
        s_out,
    ];
    let lowered = |op: &str| match lower(op, Attrs::new(), &operands).0 {
        Lowered::Layer { node, bound, function, .. } => (node, bound, function),
        _ => panic!("no layer"),
    };
    let (node, bound, function) = lowered("QuantizedConv2DTranspose");
    assert_eq!(
        (node.op_type.as_str(), &node.inputs[..2]),
        ("QuantizedConv2DTransposeScaled", &["x0", "x1"].map(str::to_owned)[..])
    );
    // One filter of all four weights; 17 and 6 are 1, 0 times 16 and 1, 6; 100 is 6 and 4.
    assert_eq!(bound, Bound { accumulator: 128 * 128, nibbles: 128 * 16, ..Bound::default() });
    let convolutions = |bound: Bound| {
        let body = function(&node.op_type, bound).unwrap();
        body.nodes.iter().filter(|node| node.op_type == "ConvTranspose").count()
    };
    assert_eq!(convolutions(bound), 1);
    assert_eq!(convolutions(Bound { accumulator: (1 << 24) + 1, ..bound }), 2);
    assert!(
        function(&node.op_type, Bound { accumulator: 1 << 28, nibbles: (1 << 24) + 1, ..bound }).is_err()
    );
    // Of a depthwise kernel each channel is a filter.
    let (node, bound, _) = lowered("QuantizedDepthwise2DTranspose");
    assert_eq!((node.attrs.contains_key("groups"), bound.accumulator), (true, 128 * 117));
}

proptest! {
    /// Before the rescale it is the transposed convolution of floats, which are exact in small integers.
    #[test]
    fn sums_are_those_of_floats(
        x in proptest::collection::vec(any::<i8>(), 2 * 3 * 2),
        w in proptest::collection::vec(any::<i8>(), 2 * 3 * 9),
        stride in 1i64..4,
        pad in 0i64..3,
    ) {
        let attrs = Attrs::new().with("strides", vec![stride, 2]).with("pads", vec![pad, 0, 1, pad]);
        let (x, w) = (tensor(&[1, 2, 3, 2], x), tensor(&[2, 3, 3, 3], w));
        let reals = [x.cast(DType::F64), w.cast(DType::F64)];
        let Ok(reals) = eval("conv_transpose2d", attrs.clone(), &reals) else { return Ok(()) };
        let [m, s_out] = rescale(1, 4096.0);
        let y = exact("QuantizedConv2DTranspose", &attrs, &[Some(x), Some(w), None, None, m, s_out]);
        let rounded = |v: &f64| (v / 4096.0 + 0.5).floor().clamp(-128.0, 127.0) as i8;
        let expected: Vec<i8> = reals.elements::<f64>().unwrap().iter().map(rounded).collect();
        prop_assert_eq!(y.elements::<i8>().unwrap(), expected);
    }
}
