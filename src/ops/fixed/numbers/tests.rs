//! Operations on every kind of grid: types, results, and what standard operators make of them.

use proptest::prelude::*;

use crate::ir::Attrs;
use crate::ops::testing::{lower_on, read_nodes};
use crate::ops::{Arithmetic, Bound, Lowered, OpError, Registry};
use crate::tensor::{FixedGrid, Grid, Shape, Tensor, TensorType};

/// A type from `value_bits`, frac bits, scales and sizes; several entries are along an axis.
fn on_grid(bits: u32, frac: &[i32], scales: &[f32], axis: usize, sizes: &[usize]) -> TensorType {
    let grid = FixedGrid {
        storage: FixedGrid::storage_of(bits),
        value_bits: bits,
        frac_bits: frac.into(),
        scales: (!scales.is_empty()).then(|| scales.into()),
        axis: (frac.len().max(scales.len()) > 1).then_some(axis),
    };
    TensorType { shape: Shape::fixed(sizes), grid: Grid::Fixed(grid) }
}

fn fill(ty: &TensorType, seed: i64) -> Tensor {
    let (low, high) = ty.grid.fixed().map_or((-8, 8), FixedGrid::range);
    let sizes = ty.shape.sizes().unwrap();
    let count = sizes.iter().product::<usize>() as i64;
    // Mostly small, and both ends; never 0, so that anything divides.
    let value = |at: i64| match (at * 7 + seed) % 11 {
        0 => low,
        1 => high,
        k => ((k - 6) * (seed % 5 + 1)).clamp(low, high),
    };
    let values = (0..count).map(value).map(|v| if v == 0 { -1 } else { v }).collect::<Vec<i64>>();
    Tensor::new(&sizes, values).unwrap().cast(ty.storage())
}

/// The type that is inferred, and the result, which has it.
fn run(
    op: &str,
    attrs: &Attrs,
    types: &[TensorType],
    tensors: &[Tensor],
) -> Result<(TensorType, Tensor), OpError> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs.clone())?;
    let operands: Vec<_> = types.iter().cloned().map(Some).collect();
    let ty = registry.infer(op, &attrs, &operands)?.remove(0);
    let grids: Vec<Option<&Grid>> = types.iter().map(|ty| Some(&ty.grid)).collect();
    let tensors: Vec<_> = tensors.iter().cloned().map(Some).collect();
    let y = registry.eval_on(op, &attrs, &tensors, &grids, Arithmetic::Exact)?.remove(0);
    assert!(ty.shape.admits(y.sizes()), "{op}: {:?} is not {}", y.sizes(), ty.shape);
    assert_eq!(ty.storage(), y.dtype(), "{op}");
    if let Some(grid) = ty.grid.fixed() {
        let entries = grid.frac_bits.len().max(grid.scales.as_ref().map_or(1, |scales| scales.len()));
        assert_eq!(grid.axis.map_or(1, |axis| y.sizes()[axis]), entries, "{op}");
    }
    Ok((ty, y))
}

/// The result of the function that an application is in an ONNX file.
fn emitted(op: &str, attrs: &Attrs, types: &[TensorType], tensors: &[Tensor]) -> Result<Tensor, OpError> {
    let operands: Vec<_> = tensors.iter().cloned().map(Some).collect();
    let types = types.iter().cloned().map(Some).collect();
    let (Lowered::Layer { function, .. }, initializers) = lower_on(op, attrs.clone(), &operands, types)?
    else {
        panic!("{op} is no function")
    };
    let function = function(op, Bound::default())?;
    Ok(read_nodes(&function.nodes, initializers, tensors, "X", &function.outputs[0]))
}

type Case = (&'static str, Attrs, Vec<TensorType>);

fn cases(bits: u32, frac: i32, several: bool, scaled: bool) -> Vec<Case> {
    let entries: Vec<i32> = if several { vec![frac, frac + 2, frac + 1] } else { vec![frac] };
    let scales: &[f32] = match (scaled, several) {
        (false, _) => &[],
        (true, false) => &[0.75],
        (true, true) => &[0.75, 2.0, 0.3],
    };
    let x = || on_grid(bits, &entries, scales, 1, &[2, 3, 2]);
    let vector = || on_grid(bits.max(2) - 1, &entries, scales, 0, &[3, 1]);
    let plain = || on_grid(5, &[1], &[], 0, &[2]);
    let one = |name: &str, value: i64| Attrs::new().with(name, value);
    let list = |name: &str, value: &[i64]| Attrs::new().with(name, value.to_vec());
    let finer: Vec<i64> = entries.iter().map(|&bits| i64::from(bits) + 1).collect();
    let mut cases: Vec<Case> = vec![
        ("fixed_promote", one("value_bits", i64::from(bits) + 3), vec![x()]),
        ("fixed_rescale", list("frac_bits", &[i64::from(frac) - 3]).with("value_bits", 5i64), vec![x()]),
        ("fixed_upscale", list("frac_bits", &finer).with("value_bits", 20i64), vec![x()]),
        ("fixed_downscale", list("frac_bits", &[i64::from(frac) - 1]), vec![x()]),
        ("fixed_expand", one("value_bits", 20), vec![x()]),
        ("fixed_shift_left", list("shift", &[2]), vec![x()]),
        ("fixed_shift_right", list("shift", &[2]), vec![x()]),
        ("fixed_floor", Attrs::new(), vec![x()]),
        ("fixed_abs", Attrs::new(), vec![x()]),
        ("fixed_sign", Attrs::new(), vec![x()]),
        ("fixed_zeros_like", Attrs::new(), vec![x()]),
        ("fixed_pow", one("exponent", 0), vec![x()]),
        ("fixed_pow", one("exponent", 1), vec![x()]),
        ("fixed_add_int", one("number", 3), vec![x()]),
        ("fixed_sub_int", one("number", -5), vec![x()]),
        ("fixed_div_int", one("number", -3), vec![x()]),
        ("fixed_div_scales", Attrs::new().with("divisor", 3f32), vec![x()]),
        ("fixed_fold_scales", one("scale_bits", 6), vec![x()]),
        ("fixed_add", Attrs::new(), vec![x(), vector()]),
        ("fixed_sub", Attrs::new(), vec![x(), vector()]),
        ("fixed_maximum", Attrs::new(), vec![vector(), x()]),
        ("fixed_clip", Attrs::new(), vec![x(), vector(), vector()]),
        ("fixed_reduce_sum", one("axis", 2), vec![x()]),
        ("fixed_reduce_mean", one("axis", 0).with("keepdims", false), vec![x()]),
        ("fixed_concat", one("axis", 1), vec![x(), x()]),
        ("fixed_concat", one("axis", 0), vec![x(), x()]),
        ("fixed_gather", one("axis", 1).with("index", 2i64), vec![x()]),
        ("fixed_div", Attrs::new(), vec![x(), plain()]),
        ("fixed_broadcast_to", list("shape", &[4, 2, 3, 2]), vec![x()]),
    ];
    if !several {
        cases.extend([
            ("fixed_mul", Attrs::new(), vec![x(), vector()]),
            ("fixed_reduce_max", Attrs::new(), vec![x()]),
            ("fixed_reduce_sum", one("axis", 1), vec![x()]),
            ("fixed_matmul", Attrs::new(), vec![x(), on_grid(4, &[3], scales, 1, &[2, 3])]),
            ("fixed_matmul", Attrs::new().with("transpose_a", true).with("transpose_b", true), {
                vec![x(), on_grid(4, &[3], scales, 1, &[4, 3])]
            }),
            ("fixed_conv2d", list("pads", &[1, 0, 0, 1]), {
                vec![
                    on_grid(bits, &[frac], scales, 1, &[1, 2, 3, 3]),
                    on_grid(4, &[2], scales, 0, &[3, 2, 2, 2]),
                ]
            }),
        ]);
    }
    if !scaled {
        let other = || on_grid(bits, &[frac + 2], &[], 1, &[2, 1, 2]);
        cases.extend([
            ("fixed_align", one("value_bits", 20), vec![x(), other()]),
            ("fixed_shift", Attrs::new(), {
                vec![x(), TensorType::new(crate::tensor::DType::I32, Shape::fixed(&[3, 1]))]
            }),
            ("fixed_equal", Attrs::new(), vec![x(), other()]),
            ("fixed_not_equal", Attrs::new(), vec![x(), other()]),
            ("fixed_less", Attrs::new(), vec![x(), other()]),
            ("fixed_less_or_equal", Attrs::new(), vec![x(), other()]),
            ("fixed_greater", Attrs::new(), vec![x(), other()]),
            ("fixed_greater_or_equal", Attrs::new(), vec![other(), x()]),
            ("fixed_stack", one("axis", 0), vec![x(), x()]),
            ("fixed_depthwise_conv2d", list("strides", &[2, 1]), {
                let x = on_grid(bits, &entries, &[], 1, &[1, 3, 3, 3]);
                vec![x, on_grid(4, &[2, 3, 1], &[0.5, 0.25, 2.0], 0, &[3, 1, 2, 2])]
            }),
        ]);
    }
    if !scaled && !several {
        cases.extend([
            ("fixed_pad", list("pads", &[0, 1, 0, 2, 0, 1]), vec![x(), on_grid(bits, &[frac], &[], 0, &[])]),
            ("fixed_mul", Attrs::new(), vec![x(), on_grid(4, &[1, 2], &[0.5, 0.25], 0, &[2])]),
            ("fixed_matmul", Attrs::new(), vec![x(), on_grid(4, &[1, 2, 3], &[0.5, 2.0, 0.25], 1, &[2, 3])]),
            ("fixed_conv2d_transpose", Attrs::new(), {
                vec![on_grid(bits, &[frac], &[], 1, &[1, 2, 3, 3]), on_grid(4, &[2], &[], 0, &[2, 3, 2, 2])]
            }),
        ]);
    }
    cases
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// On every grid of 2 to 16 value bits, with one number of frac bits or one for each index of an axis, with
    /// scales and without: results have the inferred types, and standard operators give the same bits.
    #[test]
    fn standard_operators_give_the_same(
        bits in 2u32..17, frac in -3i32..8, several: bool, scaled: bool, seed in 0i64..1000, only in any::<prop::sample::Index>(),
    ) {
        let cases = cases(bits, frac, several, scaled);
        // Each run takes several of them, so that all come up with many grids.
        for (op, attrs, types) in cases.iter().cycle().skip(only.index(cases.len())).take(8) {
            let tensors: Vec<Tensor> = types.iter().enumerate().map(|(at, ty)| fill(ty, seed + at as i64)).collect();
            let found = run(op, attrs, types, &tensors);
            let (_, y) = match found {
                Ok(found) => found,
                // What a grid has no result for is known from its type.
                Err(OpError::FixedPoint { .. }) => continue,
                Err(other) => return Err(TestCaseError::fail(format!("{op}: {other}"))),
            };
            prop_assert_eq!(emitted(op, attrs, types, &tensors).unwrap(), y, "{} {:?} {:?}", op, attrs, types);
        }
    }
}

/// Every operation has a case above.
#[test]
fn every_operation_is_compared() {
    let all: std::collections::BTreeSet<_> = [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .flat_map(|(several, scaled)| cases(7, 3, several, scaled))
        .map(|(op, ..)| op.to_owned())
        .collect();
    let registry = Registry::built_in();
    let names = registry.iter().map(|entry| entry.schema.name.to_string());
    assert_eq!(all, names.filter(|name| name.starts_with("fixed_")).collect());
}
