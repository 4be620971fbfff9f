//! Laws of the number system, and what it refuses. Numbers are held to recorded cases in `tests/keras_core`.

use proptest::prelude::*;

use super::*;

const PACKAGE: Arithmetic = Arithmetic::Binary32 { upscale_rounds: true };

fn tensor(values: Vec<i64>, bits: u32, frac: i32) -> FixedPoint {
    FixedPoint::new(&[values.len()], values, bits, PerChannel::tensor(frac)).unwrap()
}

/// A row with frac bits for each column.
fn columns(frac: &[i32]) -> FixedPoint {
    let values = (1..).take(frac.len());
    FixedPoint::new(&[1, frac.len()], values, 7, PerChannel::last(frac.to_vec())).unwrap()
}

const ONE: Stride = Stride { strides: [1, 1], dilations: [1, 1] };

prop_compose! {
    /// A matrix on a grid for each column.
    fn per_axis(bits: u32)(columns in 1usize..4, rows in 0usize..4)(
        values in prop::collection::vec(-(1i64 << bits)..1 << bits, rows * columns),
        frac in prop::collection::vec(-4i32..12, columns),
        sizes in Just([rows, columns]),
    ) -> FixedPoint {
        FixedPoint::new(&sizes, values, bits, PerChannel::last(frac)).unwrap()
    }
}

proptest! {
    #[test]
    fn rescaling_is_the_formula(value in -(1i64 << 20)..1 << 20, from in -20i32..20, to in -20i32..20) {
        let (found, shift) = tensor(vec![value], 60, from).rescale(&PerChannel::tensor(to), None).unwrap();
        prop_assert_eq!(shift.entries(), [to - from]);
        // floor(v 2^s + 1/2), in halves of the unit that is kept.
        let exact = f64::from(value as i32) * 2f64.powi(to - from);
        prop_assert_eq!(found.elements()[0], (exact + 0.5).floor() as i64);
    }

    #[test]
    fn rescalings_that_lose_nothing_compose(x in per_axis(12), up in 0i32..8, then in -8i32..8) {
        let finer = x.frac_bits().map(|bits| bits + up);
        let last = x.frac_bits().map(|bits| bits + then);
        let (wide, _) = x.upscale(&finer, Some(40)).unwrap();
        prop_assert_eq!(wide.rescale(&last, None).unwrap().0, x.promote(40).unwrap().rescale(&last, None).unwrap().0);
        prop_assert_eq!(wide.downscale(x.frac_bits()).unwrap().0, x.promote(40).unwrap());
    }

    #[test]
    fn aligning_and_expanding_keep_the_numbers(x in per_axis(12), bits in -4i32..12) {
        let other = tensor(vec![1], 4, bits);
        let reals = x.to_float();
        prop_assert_eq!(x.align(&other, Some(40)).unwrap().0.to_float(), reals.clone());
        let (expanded, shift) = x.expand(40).unwrap();
        prop_assert!(expanded.is_per_tensor() && shift.entries().iter().all(|&shift| shift >= 0));
        prop_assert_eq!(expanded.to_float(), reals);
    }

    #[test]
    fn saturating_twice_is_saturating_once(value in any::<i64>(), bits in 0u32..62) {
        for arithmetic in [Arithmetic::Exact, PACKAGE] {
            let once = arithmetic.saturate(arithmetic.keep(value.into()), bits);
            prop_assert_eq!(arithmetic.saturate(once.into(), bits), once);
            prop_assert!(once >= -(1 << bits) && once <= 1 << bits);
        }
    }

    #[test]
    fn quantizing_is_within_half_a_step(
        x in prop::collection::vec(-100f32..100.0, 1..20), bits in 2u32..17, frac in -3i32..10,
    ) {
        let fixed = FixedPoint::quantize(&[x.len()], &x, bits, Some(PerChannel::tensor(frac))).unwrap();
        let step = 2f32.powi(-frac);
        let inside = |x: f32| x / step > -(2f32.powi(bits as i32)) && x / step < 2f32.powi(bits as i32) - 1.0;
        for (x, back) in x.iter().zip(fixed.to_float()) {
            prop_assert!(!inside(*x) || (x - back).abs() <= step / 2.0, "{x} became {back}");
        }
        // What is on the grid stays.
        let reals = fixed.to_float();
        let again = FixedPoint::quantize(&[x.len()], &reals, bits, Some(PerChannel::tensor(frac))).unwrap();
        prop_assert_eq!(again, fixed);
    }

    #[test]
    fn frac_bits_hold_the_range(range in 1e-6f32..1e6, bits in 1u32..17) {
        let frac = frac_bits_for(bits, range, false).unwrap();
        let most = f64::from(range) * 2f64.powi(frac);
        // Logarithms in binary32 round down a few units above a power of two.
        prop_assert!(most <= 2f64.powi(bits as i32) * (1.0 + 1e-5) && most > 2f64.powi(bits as i32 - 1) * (1.0 - 1e-5));
        prop_assert_eq!(frac_bits_for(bits, range, true).unwrap(), frac.min(bits as i32));
    }

    #[test]
    fn scales_have_their_leading_bit(scale in 1e-9f32..1e9, bits in 2u32..17) {
        let scales = quantize_scales(&PerChannel::last(vec![scale]), bits).unwrap();
        let value = scales.elements()[0];
        prop_assert!(value >= (1 << (bits - 1)) && value < 1 << bits, "{value}");
        let real = f64::from(scales.to_float()[0]);
        prop_assert!((real / f64::from(scale) - 1.0).abs() <= 2f64.powi(1 - bits as i32), "{real} for {scale}");
    }

    /// As long as everything fits 23 bits, binary32 is exact.
    #[test]
    fn binary32_is_exact_below_its_precision(x in per_axis(8), y in per_axis(8), bits in -4i32..12) {
        let (a, b) = (x.clone().with(PACKAGE), y.clone().with(PACKAGE));
        let same = |exact: Result<FixedPoint>, rounded: Result<FixedPoint>| match (exact, rounded) {
            (Ok(exact), Ok(rounded)) => exact.elements() == rounded.elements(),
            (exact, rounded) => exact.err() == rounded.err(),
        };
        prop_assert!(same(x.multiply(&y), a.multiply(&b)));
        prop_assert!(same(x.add(&y), a.add(&b)));
        prop_assert!(same(x.divide(&y), a.divide(&b)));
        let to = PerChannel::tensor(bits);
        prop_assert!(same(x.rescale(&to, None).map(|r| r.0), a.rescale(&to, None).map(|r| r.0)));
        prop_assert!(same(x.reduce_sum(Some(0), true), a.reduce_sum(Some(0), true)));
    }

    #[test]
    fn comparing_is_comparing_the_reals(x in per_axis(12), bits in -4i32..12, value in -4096i64..4096) {
        let other = tensor(vec![value], 12, bits);
        let (_, found) = x.compare(&other).unwrap();
        let real = other.to_float()[0];
        let want: Vec<_> = x.to_float().iter().map(|x| x.partial_cmp(&real).unwrap()).collect();
        prop_assert_eq!(found, want);
    }

    /// A 1×1 convolution is a matrix product, and one with a group for each channel is each by itself.
    #[test]
    fn convolutions_are_products(
        x in prop::collection::vec(-100i64..100, 12), k in prop::collection::vec(-100i64..100, 6),
    ) {
        let fixed = |sizes: &[usize], values: &[i64]| {
            FixedPoint::new(sizes, values.iter().copied(), 30, PerChannel::tensor(1)).unwrap()
        };
        let image = fixed(&[1, 2, 3, 2], &x);
        let convolved = image.convolution(&fixed(&[1, 1, 2, 3], &k), ONE, Padding::Same).unwrap();
        let product = fixed(&[6, 2], &x).matmul(&fixed(&[2, 3], &k), false, false).unwrap();
        prop_assert_eq!(convolved.elements(), product.elements());
        let turned = fixed(&[6, 2], &x).transpose(&[1, 0]).unwrap();
        prop_assert_eq!(turned.matmul(&fixed(&[2, 3], &k), true, false).unwrap(), product);

        let kernel = fixed(&[3, 1, 2, 1], &k);
        let each = image.depthwise_convolution(&kernel, ONE, Padding::Same).unwrap();
        for channel in [0, 1] {
            let alone = image.gather_all(&[channel], -1).unwrap();
            let alone = alone.convolution(&kernel.gather_all(&[channel], 2).unwrap(), ONE, Padding::Same).unwrap();
            let found = each.gather_all(&[channel], -1).unwrap();
            prop_assert_eq!(found.elements(), alone.elements());
        }
    }
}

#[test]
fn what_has_no_result_is_refused() {
    let x = FixedPoint::new(&[1, 2], [1, -3], 7, PerChannel::last(vec![2, 4])).unwrap();
    let y = tensor(vec![1, 2], 7, 3);
    let at = |bits: i32| PerChannel::tensor(bits);
    let kernel = FixedPoint::new(&[1, 1, 2, 1], [1, 2], 7, at(0)).unwrap();
    let image = FixedPoint::new(&[1, 1, 2, 2], [1, 2, 3, 4], 7, PerChannel::last(vec![2, 4])).unwrap();
    for (found, code) in [
        (x.promote(6), "6 value bits hold less than the 7"),
        (x.expand(6).map(|r| r.0), "6 value bits hold less than the 7"),
        (y.rescale(&at(10), None).map(|r| r.0), "a left shift by 7 saturates 7 value bits"),
        (y.upscale(&at(2), None).map(|r| r.0), "frac bits 2 are fewer than 3"),
        (y.downscale(&at(4)).map(|r| r.0), "frac bits 4 are more than 3"),
        (y.divided_by_power(&at(-1)), "a shift by -1 is negative"),
        (y.times_power(&at(-1)), "a shift by -1 is negative"),
        (x.add(&y), "`add` takes operands of the same frac bits, these have [2, 4] and [3]"),
        (x.maximum(&y), "`maximum` takes operands of the same frac bits"),
        (y.divide(&tensor(vec![0, 1], 7, 0)), "a divisor is 0"),
        (y.divide_by_int(0), "a divisor is 0"),
        (y.pow(2), "a power of a fixed-point tensor is 0 or 1, not 2"),
        (
            x.transpose(&[1, 0]),
            "`transpose` takes a per-tensor operand, this one has 2 entries along axis -1",
        ),
        (x.matmul(&x, false, false), "`matmul` takes a per-tensor operand"),
        (x.matmul(&x, true, true), "`matmul` takes a per-tensor operand"),
        (y.matmul(&y, false, false), "`matmul` does not take shapes [2] and [2]"),
        (x.reduce_sum(None, false), "`reduce_sum` takes a per-tensor operand"),
        (x.reduce_max(Some(0), false), "`reduce_max` takes a per-tensor operand"),
        (x.reduce_mean(Some(2), false), "`reduce_mean` has no axis 2 for a tensor of shape [1, 2]"),
        (x.reshape(&[2, 1]), "`reshape` takes a per-tensor operand"),
        (y.reshape(&[3]), "`reshape` has no shape [3]"),
        (y.broadcast_to(&[2, 3]), "`broadcast_to` has no shape [2, 3]"),
        (x.stack(&x, -1), "`stack` takes a per-tensor operand"),
        (x.concat(&x.zeros_like().unwrap().rescale(&at(2), None).unwrap().0, 0), "`concat` takes operands"),
        (x.gather_all(&[0, 0], -1), "`gather` takes a per-tensor operand"),
        (x.gather(2, -1), "`gather` has no index 2"),
        (x.pad(&[(0, 0), (0, 1)], &y), "`pad` takes a per-tensor operand"),
        (x.tile(&[1, 2]), "`tile` takes a per-tensor operand"),
        (x.expand_dims(-1), "`expand_dims` takes a per-tensor operand"),
        (FixedPoint::new(&[2], [1, 2], 62, at(0)), "62 value bits, of at most 61"),
        (FixedPoint::new(&[2], [1], 7, at(0)), "`fixed point` does not take shapes [2] and [1]"),
        (FixedPoint::new(&[2], [1, 2], 7, PerChannel::last(vec![1, 2, 3])), "3 entries for an axis of 2"),
        (quantize_scales(&PerChannel::tensor(0.0), 8), "the range 0 has no grid"),
        // A left shift of as many bits as the result has, even of 0, by every way there.
        (
            y.zeros_like().unwrap().rescale(&at(10), None).map(|r| r.0),
            "a left shift by 7 saturates 7 value bits",
        ),
        (y.rescale(&at(8), Some(5)).map(|r| r.0), "a left shift by 5 saturates 5 value bits"),
        (y.upscale(&at(10), None).map(|r| r.0), "a left shift by 7 saturates 7 value bits"),
        (y.align(&tensor(vec![1], 7, 10), None).map(|r| r.0), "a left shift by 7 saturates 7 value bits"),
        (columns(&[0, 9]).expand(9).map(|r| r.0), "a left shift by 9 saturates 9 value bits"),
        (columns(&[2, 4]).upscale(&at(3), None).map(|r| r.0), "frac bits 3 are fewer than 4"),
        (columns(&[2, 4]).downscale(&at(3)).map(|r| r.0), "frac bits 3 are more than 2"),
        (
            y.divided_by_power(&PerChannel::last(vec![1, 2])),
            "`shift right` takes a per-tensor operand, this one has 2 entries along axis -1",
        ),
        (columns(&[2, 4]).divided_by_power(&PerChannel::last(vec![1, -2])), "a shift by -2 is negative"),
        (y.times_power(&PerChannel::last(vec![1, 2, 3])), "3 entries for an axis of 2"),
        (y.shift(&[3], &[1, 2, 3]), "`shift` does not take shapes [2] and [3]"),
        (x.sub(&y), "`sub` takes operands of the same frac bits, these have [2, 4] and [3]"),
        (y.add(&tensor(vec![1, 2, 3], 7, 3)), "`add` does not take shapes [2] and [3]"),
        (y.clip(&x, &y), "`clip` takes operands of the same frac bits"),
        (y.clip(&y, &x), "`clip` takes operands of the same frac bits"),
        (x.multiply(&columns(&[1, 2, 3])), "`multiply` takes operands of the same frac bits"),
        (y.compare(&tensor(vec![1, 2, 3], 7, 3)).map(|_| y.clone()), "`compare` does not take shapes"),
        (y.transpose(&[1, 0]), "`transpose` has no permutation [1, 0]"),
        (x.reduce_mean(Some(-1), true), "`reduce_mean` takes a per-tensor operand"),
        (y.gather_all(&[], 0).unwrap().reduce_max(None, true), "`reduce_max` has no largest element"),
        (x.concat(&y, -1), "`concat` does not take shapes [1, 2] and [2]"),
        (y.stack(&tensor(vec![1, 2], 7, 4), 0), "`stack` takes operands of the same frac bits"),
        (y.stack(&y, 2), "`stack` has no new axis 2"),
        (y.gather(0, 1), "`gather` has no axis 1"),
        (y.pad(&[(0, 1)], &tensor(vec![0], 7, 4)), "`pad` takes operands of the same frac bits"),
        (y.pad(&[(0, 1)], &y), "`pad` does not take shapes [2] and [2]"),
        (y.tile(&[1, 2]), "`tile` has no repeats [1, 2]"),
        (y.expand_dims(2), "`expand_dims` has no new axis 2"),
        (image.convolution(&kernel, ONE, Padding::Same), "`convolution` takes a per-tensor operand"),
        (
            image.transposed_convolution(&kernel, [1, 1], Padding::Same, [1, 2]),
            "`transposed_convolution` takes a per-tensor operand",
        ),
        (
            image.depthwise_transposed_convolution(&kernel, [1, 1], Padding::Same, [1, 2]),
            "`depthwise_transposed_convolution` takes a per-tensor operand",
        ),
        (
            kernel.depthwise_convolution(&kernel, ONE, Padding::Same),
            "`depthwise_convolution` does not take shapes [1, 1, 2, 1] and [1, 1, 2, 1]",
        ),
    ] {
        let error = found.expect_err(code).to_string();
        assert!(error.contains(code), "{error} instead of {code}");
    }
}

/// What tensors with scales refuse (fixed-point §2).
#[test]
fn what_has_no_result_with_scales_is_refused() {
    let fixed = || FixedPoint::new(&[1, 2], [1, -3], 7, PerChannel::tensor(2)).unwrap();
    let one = QFloat::new(fixed(), PerChannel::tensor(0.5)).unwrap();
    let several = QFloat::new(fixed(), PerChannel::last(vec![0.5, 0.25])).unwrap();
    let columns = QFloat::new(columns(&[1, 2]), PerChannel::tensor(0.5)).unwrap();
    let zero = QFloat::new(fixed(), PerChannel::tensor(0.0)).unwrap();
    let wide = || QTensor::from(several.clone());
    let turned = QFloat::new(fixed().reshape(&[2, 1]).unwrap(), PerChannel::tensor(0.5)).unwrap();
    let kernel = QFloat::new(fixed().reshape(&[1, 1, 2, 1]).unwrap(), PerChannel::tensor(0.5)).unwrap();
    let image = several.map(|x| x.expand_dims(0)?.expand_dims(0)).unwrap();
    for (found, code) in [
        (one.add(&several), "`add` takes operands of the same scales"),
        (one.sub(&several), "`sub` takes operands of the same scales"),
        (one.maximum(&several), "`maximum` takes operands of the same scales"),
        (one.clip(&several, &one), "`clip` takes operands of the same scales"),
        (one.clip(&one, &several), "`clip` takes operands of the same scales"),
        (one.add(&columns), "`add` takes operands of the same frac bits"),
        (one.concat(&several, 0), "`concat` takes operands of the same scales"),
        (QFloat::multiplied(&wide(), &one), "`multiply` takes a per-tensor operand"),
        (QFloat::multiplied(&columns.fixed().clone().into(), &one), "`multiply` takes a per-tensor operand"),
        (one.divide(columns.fixed()), "`divide` takes a per-tensor operand"),
        (one.divide(&tensor(vec![0], 7, 0)), "a divisor is 0"),
        (QFloat::matmul(&wide(), &turned, false, false), "`matmul` takes a per-tensor operand"),
        (
            QFloat::convolution(&image.into(), &kernel, ONE, Padding::Same),
            "`convolution` takes a per-tensor operand",
        ),
        (one.map(|x| x.promote(6)), "6 value bits hold less than the 7"),
        (
            zero.to_fixed_point(8).and_then(|x| QFloat::new(x, PerChannel::tensor(1.0))),
            "the range 0 has no grid",
        ),
        (QFloat::new(fixed(), PerChannel::last(vec![1.0; 3])), "3 entries for an axis of 2"),
    ] {
        let error = found.expect_err(code).to_string();
        assert!(error.contains(code), "{error} instead of {code}");
    }
}

#[test]
fn quantizers_say_what_they_lack() {
    let weights = WeightQuantizer { bitwidth: 1, signed: true, axis: WeightAxis::Tensor };
    assert_eq!(weights.quantize(&[1], &[1.0]), Err(FixedError::Bitwidth { bitwidth: 1, least: 2 }));
    let weights = WeightQuantizer { bitwidth: 8, signed: true, axis: WeightAxis::Axis(0) };
    assert!(weights.quantize(&[2, 3], &[1.0; 6]).is_err());
    let mut output = OutputQuantizer {
        requantizer: Requantizer { bitwidth: 8, signed: true, buffer_bits: Some(32) },
        scale_bits: None,
        range_max: PerChannel::tensor(1.0),
        rescaling_rate: PerChannel::tensor(1.0),
    };
    let narrow = tensor(vec![1], 7, 0);
    assert_eq!(output.quantize(&narrow.into()), Err(FixedError::Pointless { from: 7, to: 7 }));
    let scaled = QFloat::new(tensor(vec![1], 31, 0), PerChannel::tensor(0.5)).unwrap();
    assert_eq!(output.quantize(&scaled.clone().into()), Err(FixedError::NoScaleBits));
    output.scale_bits = Some(8);
    output.requantizer.buffer_bits = Some(27);
    assert_eq!(output.quantize(&scaled.into()), Err(FixedError::Narrower { from: 31, to: 27 }));

    let too_small = |bitwidth, least| Err(FixedError::Bitwidth { bitwidth, least });
    for (bitwidth, signed, least) in [(1, true, 2), (0, true, 2), (0, false, 1)] {
        let weights = WeightQuantizer { bitwidth, signed, axis: WeightAxis::Tensor };
        assert_eq!(weights.quantize_fixed(&[1], &[1.0]), too_small(bitwidth, least));
        let tensor: Result<FixedPoint> = too_small(bitwidth, least);
        let ranges = Ranges::EachChannel;
        let one = QFloat::new(self::tensor(vec![1], 31, 0), PerChannel::tensor(1.0)).unwrap();
        let aligned = AlignedQuantizer { bitwidth, signed, ranges };
        assert_eq!(aligned.quantize(&[1], &[1.0], &one).map(|a| a.values.fixed().clone()), tensor);
        let (range_min, range_max) = (PerChannel::tensor(0.0), PerChannel::tensor(1.0));
        let input = InputQuantizer { bitwidth, signed, range_min, range_max };
        assert_eq!(input.quantize(&[1], &[1.0]).map(|x| x.fixed().clone()), tensor);
        output.requantizer = Requantizer { bitwidth, signed, buffer_bits: Some(32) };
        assert_eq!(output.quantize(&one.into()).map(|x| x.output), tensor);
    }
    // As small as they may be.
    for (bitwidth, signed) in [(2, true), (1, false)] {
        let weights = WeightQuantizer { bitwidth, signed, axis: WeightAxis::Tensor };
        assert_eq!(weights.quantize(&[2], &[1.0, 0.0]).unwrap().fixed().elements(), [1, 0]);
    }
    // A channel multiplier has no scales of its own; an axis that is none neither.
    for axis in [-2, 4] {
        let weights = WeightQuantizer { bitwidth: 8, signed: true, axis: WeightAxis::Axis(axis) };
        let found = weights.quantize(&[1, 1, 2, 3], &[1.0; 6]).unwrap_err();
        assert!(matches!(found, FixedError::Argument { operation: "weight quantizer", .. }), "{found}");
    }
    // A bias that would be shifted beyond the accumulator.
    let fine = QFloat::new(self::tensor(vec![1], 7, 20), PerChannel::tensor(1.0)).unwrap();
    let bias = AlignedQuantizer { bitwidth: 8, signed: true, ranges: Ranges::One };
    assert_eq!(bias.quantize(&[1], &[1.0], &fine), Err(FixedError::Saturates { shift: 13, bits: 7 }));
    // Without sign, zero lies within the range.
    let (range_min, range_max) = (PerChannel::tensor(0.5), PerChannel::tensor(1.0));
    let input = InputQuantizer { bitwidth: 8, signed: false, range_min, range_max };
    assert_eq!(input.quantize(&[1], &[1.0]), Err(FixedError::Range { range: "from 0.5".to_owned() }));
}

/// Rounding of a half, by operation (fixed-point §1.4).
#[test]
fn halves_go_where_the_table_says() {
    let halves = tensor(vec![-3, -1, 1, 3, 5], 7, 1);
    let (up, _) = halves.rescale(&PerChannel::tensor(0), None).unwrap();
    assert_eq!(up.elements(), [-1, 0, 1, 2, 3]);
    assert_eq!(halves.shift(&[], &[-1]).unwrap().elements(), [-2, -1, 0, 1, 2]);
    assert_eq!(halves.floor().unwrap().0.elements(), [-2, -1, 0, 1, 2]);
    assert_eq!(halves.divide_by_int(2).unwrap().elements(), [-1, 0, 0, 1, 2]);
    let even = FixedPoint::quantize(&[4], &[0.5, 1.5, 2.5, -0.5], 7, Some(PerChannel::tensor(0))).unwrap();
    assert_eq!(even.elements(), [0, 2, 2, 0]);
}
