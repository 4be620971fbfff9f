//! What the integer forms compute, and what the float forms mean.

use proptest::prelude::*;

use super::{exact, run};
use crate::diag::Loc;
use crate::ir::{Attrs, Graph};
use crate::ops::layer::expand;
use crate::ops::testing::{eval_graph, tensor};
use crate::ops::{Arithmetic, Builder, Registry};
use crate::tensor::Tensor;
use crate::tensor::round::{rescale_exact, rescale_f32};

fn pools(pool: &str) -> Attrs {
    Attrs::new().with("pool", pool)
}

/// M and S_out of one filter.
fn rescale(m: u8, s: f32) -> [Option<Tensor>; 2] {
    [Some(tensor(&[1, 1, 1, 1], [m])), Some(tensor(&[1, 1, 1, 1], [s]))]
}

#[test]
fn convolution_of_int8_pads_with_zero() {
    // Sums of a row [1, 2, 3] under [10, 1] with one zero before: 1, 12, 23; plus 5.
    let attrs = Attrs::new().with("pads", vec![0, 1, 0, 0]);
    let x = tensor(&[1, 1, 1, 3], [1i8, 2, 3]);
    let w = tensor(&[1, 1, 1, 2], [10i8, 1]);
    let [m, s_out] = rescale(1, 2.0);
    let operands = [Some(x), Some(w), Some(tensor(&[1], [5i32])), None, None, m, s_out];
    // 6, 17, 28, halved, ties up.
    assert_eq!(exact("QuantizedConv2D", &attrs, &operands), tensor(&[1, 1, 1, 3], [3i8, 9, 14]));
}

#[test]
fn convolution_of_uint8_pads_with_its_own_values_and_beyond_255() {
    let attrs = Attrs::new().with("pads", vec![0, 1, 0, 1]);
    let x = tensor(&[1, 2, 1, 1], [200u8, 3]);
    let w = tensor(&[1, 2, 1, 3], [1i8, 1, 1, 0, 10, -1]);
    let [m, s_out] = rescale(1, 8.0);
    let b = Some(tensor(&[1], [0i32]));
    let operands = [Some(x), Some(w), b, Some(tensor(&[2], [300i32, 7])), None, m, s_out];
    // 300 + 200 + 300 + 30 - 7 = 823; 823 / 8 = 102.875.
    assert_eq!(exact("QuantizedConv2D", &attrs, &operands), tensor(&[1, 1, 1, 1], [103i8]));
}

#[test]
fn max_pool_comes_before_the_activation_and_the_sum_of_a_global_pool_after() {
    let x = tensor(&[1, 1, 2, 2], [-4i8, -3, 5, 100]);
    let w = tensor(&[1, 1, 1, 1], [2i8]);
    let ceiling = Some(tensor(&[1, 1, 1, 1], [150i32]));
    let [m, s_out] = rescale(1, 1.0);
    let pool = pools("MaxPool").with("pool_size", vec![1, 2]);
    let operands = [Some(x.clone()), Some(w.clone()), None, None, None, m.clone(), s_out.clone()];
    assert_eq!(exact("QuantizedConv2D", &pool, &operands), tensor(&[1, 1, 2, 1], [-6i8, 127]));
    let relu = pool.with("activation", "ReLU");
    assert_eq!(exact("QuantizedConv2D", &relu, &operands), tensor(&[1, 1, 2, 1], [0i8, 127]));
    // -8, -6, 10, 200 clipped to 0, 0, 10, 150.
    let averaged = pools("GlobalAvgPool").with("activation", "ReLUClipped");
    let [_, half] = rescale(1, 2.0);
    let operands = [Some(x), Some(w), None, None, ceiling, m, half];
    assert_eq!(exact("QuantizedConv2D", &averaged, &operands), tensor(&[1, 1, 1, 1], [80i8]));
}

#[test]
fn padding_never_wins_a_max_pool() {
    let attrs = pools("MaxPool").with("pool_size", vec![2, 2]).with("pool_pads", vec![1, 1, 0, 0]);
    let x = tensor(&[1, 1, 1, 1], [-7i8]);
    let [m, s_out] = rescale(1, 1.0);
    let operands = [Some(x), Some(tensor(&[1, 1, 1, 1], [3i8])), None, None, None, m, s_out];
    assert_eq!(exact("QuantizedConv2D", &attrs, &operands), tensor(&[1, 1, 1, 1], [-21i8]));
}

#[test]
fn depthwise_filters_meet_their_own_channel() {
    let x = tensor(&[1, 2, 1, 2], [1i8, 2, 3, 4]);
    let w = tensor(&[2, 1, 1, 2], [1i8, 10, -1, 5]);
    let m = Some(tensor(&[1, 2, 1, 1], [1u8, 2]));
    let s_out = Some(tensor(&[1, 2, 1, 1], [1f32, 1.0]));
    let operands = [Some(x), Some(w), None, None, None, m, s_out];
    assert_eq!(exact("QuantizedDepthwise2D", &Attrs::new(), &operands), tensor(&[1, 2, 1, 1], [21i8, 34]));
}

/// Sums beyond 32 bits are still exact: 66,000 products of -128 and -128 at 2 x 1 positions.
#[test]
fn accumulators_widen_where_their_bound_needs_it() {
    let channels = 66_000;
    let x = tensor(&[1, channels, 2, 1], vec![-128i8; 2 * channels]);
    let w = tensor(&[1, channels, 1, 1], vec![-128i8; channels]);
    let [m, s_out] = rescale(1, (1u64 << 25) as f32);
    let operands = [Some(x), Some(w), None, None, None, m, s_out];
    // 2 * 66,000 * 2^14 = 2,162,688,000; over 2^25: 64.45.
    let attrs = pools("GlobalAvgPool");
    assert_eq!(exact("QuantizedConv2D", &attrs, &operands), tensor(&[1, 1, 1, 1], [64i8]));
}

#[test]
fn dense_flattens_clips_and_keeps_int32_without_rescaling() {
    let x = tensor(&[1, 2, 1, 2], [1i8, 2, 3, -4]);
    let w = tensor(&[2, 4], [1i8, 2, 3, 4, -1, -2, -3, -4]);
    let b = tensor(&[2], [10i32, 1000]);
    let attrs = Attrs::new().with("flatten", true);
    let operands = [Some(x), Some(w), Some(b)];
    assert_eq!(exact("QuantizedDense1D", &attrs, &operands), tensor(&[1, 2], [8i32, 1002]));
    let mut operands = operands.to_vec();
    operands.push(Some(tensor(&[1, 2], [5i32, 900])));
    let clipped = attrs.with("activation", "ReLUClipped");
    assert_eq!(exact("QuantizedDense1D", &clipped, &operands), tensor(&[1, 2], [5i32, 900]));
    operands.push(Some(tensor(&[1, 2], [3u8, 1])));
    operands.push(Some(tensor(&[1, 2], [2f32, 8.0])));
    assert_eq!(exact("QuantizedDense1D", &clipped, &operands), tensor(&[1, 2], [8i8, 113]));
}

#[test]
fn additions_shift_each_operand_and_round_half_up() {
    let bytes = |elements: [i8; 4]| Some(tensor(&[1, 2, 1, 2], elements));
    let shifts = |elements: [i32; 2]| Some(tensor(&[1, 2, 1, 1], elements));
    let mut operands = vec![bytes([1, -128, 3, -5]), bytes([2, 127, 0, 1]), shifts([4, 1]), shifts([1, 2])];
    let attrs = Attrs::new();
    let sums = tensor(&[1, 2, 1, 2], [6i32, -385, 3, -3]);
    assert_eq!(exact("QuantizedAdd", &attrs, &operands), sums);
    operands.push(Some(tensor(&[1, 2, 1, 1], [4f32, 2.0])));
    assert_eq!(exact("QuantizedAdd", &attrs, &operands), tensor(&[1, 2, 1, 2], [2i8, -96, 2, -1]));
}

#[test]
fn concatenation_moves_int8() {
    let operands = [Some(tensor(&[2, 1], [1i8, 2])), Some(tensor(&[2, 2], [3i8, 4, 5, -128]))];
    let y = tensor(&[2, 3], [1i8, 3, 4, 2, 5, -128]);
    assert_eq!(exact("QuantizedConcat", &Attrs::new(), &operands), y);
}

#[test]
fn the_input_is_transposed_then_quantized_per_channel() {
    let attrs = Attrs::new().with("perm", vec![0, 3, 1, 2]);
    // Two pixels of two channels.
    let x = Some(tensor(&[1, 1, 2, 2], [0.25f32, 10.0, -0.35, f32::NAN]));
    let scale = Some(tensor(&[2], [0.1f32, 4.0]));
    let operands = [x, scale.clone(), Some(tensor(&[2], [3u8, 0]))];
    // 0.25 / 0.1 = 2.5 in f32, to even; 10 / 4 = 2.5; -3.5 rounds to -4 and saturates.
    assert_eq!(exact("InputQuantizer", &attrs, &operands), tensor(&[1, 2, 1, 2], [5u8, 0, 2, 0]));
    let bytes = Some(tensor(&[1, 1, 2, 2], [1u8, 255, 0, 6]));
    let operands = [bytes, scale, Some(tensor(&[2], [0i8, 0]))];
    assert_eq!(exact("InputQuantizer", &attrs, &operands), tensor(&[1, 2, 1, 2], [10i8, 0, 64, 2]));
}

#[test]
fn reals_are_one_f32_product_of_an_f32() {
    let operands = [Some(tensor(&[1, 2], [16_777_217i32, -3])), Some(tensor(&[2], [1f32, 0.1]))];
    let y = tensor(&[1, 2], [16_777_216f32, -3.0 * 0.1]);
    assert_eq!(exact("Dequantizer", &Attrs::new(), &operands), y);
}

#[test]
fn the_arithmetics_differ_from_a_divisor_of_2_to_the_18() {
    let differs = |s: i32| {
        (1i64 << 23..1 << 24).find(|&acc| rescale_exact(acc, 129, s, 8) != rescale_f32(acc, 129, s, 8))
    };
    let acc = differs(24).unwrap();
    let x = Some(tensor(&[1, 1], [0i8]));
    let operands = [
        x.clone(),
        x,
        Some(tensor(&[1], [acc as i32])),
        None,
        Some(tensor(&[1, 1], [129u8])),
        Some(tensor(&[1, 1], [2f32.powi(24)])),
    ];
    let results = [Arithmetic::Exact, Arithmetic::F32]
        .map(|how| run("QuantizedDense1D", &Attrs::new(), &operands, how).unwrap());
    let [exact, f32] = results.map(|y| y.elements::<i8>().unwrap()[0]);
    assert_eq!(exact + 1, f32);
}

/// A layer in float form, and the same layer expanded.
fn both_forms(op: &str, attrs: Attrs, operands: &[Option<Tensor>]) -> (Graph, Graph) {
    let registry = Registry::built_in();
    let build = |expanded: bool| {
        let mut graph = Graph::new("g");
        let values: Vec<_> = operands
            .iter()
            .enumerate()
            .map(|(i, tensor)| {
                tensor.as_ref().map(|tensor| match i {
                    0 => graph.add_input("x", tensor.tensor_type(), Loc::unknown()),
                    _ => graph.add_const("c", tensor.clone(), Loc::unknown()),
                })
            })
            .collect();
        let mut builder = Builder { graph: &mut graph, registry: &registry, loc: Loc::unknown() };
        let attrs = registry.complete(op, attrs.clone()).unwrap();
        let value = if expanded {
            expand(&mut builder, op, &attrs, &values, "y", "conv_1").unwrap()
        } else {
            let node = builder.node(op, attrs, values, "y").unwrap();
            crate::ir::ValueId { node, result: 0 }
        };
        graph.add_output("y", value);
        graph
    };
    (build(false), build(true))
}

fn ramp(sizes: &[usize], from: f32) -> Tensor {
    let count = sizes.iter().product::<usize>();
    tensor(sizes, (0..count).map(|i| from + (i * 31 % 17) as f32 * 0.3).collect::<Vec<f32>>())
}

#[test]
fn the_float_form_is_the_chain_and_the_chain_keeps_the_names() {
    let attrs = pools("MaxPool")
        .with("pool_size", vec![2, 2])
        .with("pads", vec![1, 0, 1, 2])
        .with("activation", "ReLUClipped")
        .with("max_value", 3.5);
    let operands =
        [Some(ramp(&[1, 2, 4, 4], -2.0)), Some(ramp(&[3, 2, 2, 2], -2.5)), None, Some(ramp(&[2], 0.5))];
    let (fused, chain) = both_forms("QuantizedConv2D", attrs, &operands);
    let run = |graph: &Graph| eval_graph(graph, operands[0].clone(), graph.outputs()[0].value).unwrap();
    assert_eq!(run(&fused), run(&chain));
    let nodes = chain.order().into_iter().map(|id| chain.node(id).clone());
    let ops: Vec<(String, String)> = nodes
        .filter_map(|node| Some((node.op()?.to_owned(), format!("{} {}", node.name, node.results[0].name))))
        .collect();
    let named = |op: &str, names: &str| (op.to_owned(), names.to_owned());
    assert_eq!(
        ops,
        [
            named("channel_pad", "y_channel_pad y_channel_pad"),
            named("conv2d", "conv_1 y_conv2d"),
            named("max_pool2d", "y_max_pool2d y_max_pool2d"),
            named("clip", "y y"),
        ]
    );
}

proptest! {
    /// An un-padded 1x1 convolution is a dense layer at every position.
    #[test]
    fn a_convolution_of_one_position_is_a_dense_layer(
        x in proptest::collection::vec(any::<i8>(), 6),
        w in proptest::collection::vec(any::<i8>(), 12),
        b in proptest::collection::vec(-1000i32..1000, 2),
        m: u8,
        s in 0i32..12,
    ) {
        let (m, s) = ([m, m], [2f32.powi(s); 2]);
        let conv = exact("QuantizedConv2D", &Attrs::new(), &[
            Some(tensor(&[1, 6, 1, 1], x.clone())),
            Some(tensor(&[2, 6, 1, 1], w.clone())),
            Some(tensor(&[2], b.clone())),
            None,
            None,
            Some(tensor(&[1, 2, 1, 1], m)),
            Some(tensor(&[1, 2, 1, 1], s)),
        ]);
        let dense = exact("QuantizedDense1D", &Attrs::new(), &[
            Some(tensor(&[1, 6], x)),
            Some(tensor(&[2, 6], w)),
            Some(tensor(&[2], b)),
            None,
            Some(tensor(&[1, 2], m)),
            Some(tensor(&[1, 2], s)),
        ]);
        prop_assert_eq!(conv.elements::<i8>(), dense.elements::<i8>());
    }
}
