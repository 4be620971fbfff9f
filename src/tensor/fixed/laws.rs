//! Laws of the numbers for every count of value bits from 2 to 16, with one grid for a tensor or one for each index of
//! an axis, with scales and without.

use proptest::prelude::*;

use super::*;

/// What nothing overflows in.
const WIDE: u32 = 50;

fn numbers(bits: u32, axis: Option<usize>) -> impl Strategy<Value = FixedPoint> {
    (1usize..4, 1usize..4).prop_flat_map(move |(rows, columns)| {
        let entries = axis.map_or(1, |axis| [columns, rows][axis - 1]);
        let most = 1i64 << bits;
        // Both ends come up often.
        let value = prop_oneof![4 => -most..most, 1 => Just(-most), 1 => Just(most - 1), 1 => Just(0)];
        let values = prop::collection::vec(value, rows * columns);
        (values, prop::collection::vec(-4i32..12, entries)).prop_map(move |(values, frac)| {
            let frac = axis.map_or(PerChannel::tensor(frac[0]), |axis| PerChannel::along(axis, frac.clone()));
            FixedPoint::new(&[rows, columns], values, bits, frac).unwrap()
        })
    })
}

/// A matrix on any grid.
fn any_numbers() -> impl Strategy<Value = FixedPoint> {
    let axes = prop::sample::select(vec![None, Some(1), Some(2)]);
    (2u32..17, axes).prop_flat_map(|(bits, axis)| numbers(bits, axis))
}

/// The same with one scale, or one for each index of the axis.
fn any_scaled() -> impl Strategy<Value = QFloat> {
    any_numbers().prop_flat_map(|x| {
        let axis = x.frac_bits().axis();
        let entries = axis.map_or(1, |axis| x.sizes()[2 - axis]);
        prop::collection::vec(1e-3f32..1e3, entries).prop_map(move |scales| {
            let scales =
                axis.map_or(PerChannel::tensor(scales[0]), |axis| PerChannel::along(axis, scales.clone()));
            QFloat::new(x.clone(), scales).unwrap()
        })
    })
}

/// The reals, exactly: at most 51 bits.
fn reals(x: &FixedPoint) -> Vec<f64> {
    let bits = x.frac_bits.of_elements(x.sizes());
    let each = x.elements().iter().enumerate();
    each.map(|(at, &v)| v as f64 * 2f64.powi(-bits(at))).collect()
}

fn by(x: &FixedPoint, shift: i32) -> PerChannel<i32> {
    x.frac_bits().map(|bits| bits + shift)
}

/// That every integer is one of its value bits.
fn is_saturated(x: &FixedPoint) -> bool {
    let most = 1i64 << x.value_bits();
    x.elements().iter().all(|value| (-most..most).contains(value))
}

proptest! {
    #[test]
    fn upscalings_compose(x in any_numbers(), first in 0i32..8, then in 0i32..8) {
        let wide = x.promote(WIDE).unwrap();
        let (once, _) = wide.upscale(&by(&x, first), None).unwrap();
        let (twice, _) = once.upscale(&by(&x, first + then), None).unwrap();
        prop_assert_eq!(&twice, &wide.upscale(&by(&x, first + then), None).unwrap().0);
        prop_assert_eq!(reals(&twice), reals(&x));
        // What only became finer may be rounded in one step.
        let coarse = by(&x, -then);
        prop_assert_eq!(once.downscale(&coarse).unwrap().0, wide.downscale(&coarse).unwrap().0);
    }

    /// Rounding twice may go another way than rounding once, by no more than a step.
    #[test]
    fn downscalings_nearly_compose(x in any_numbers(), first in 0i32..8, then in 0i32..8) {
        let coarse = by(&x, -first - then);
        let twice = x.downscale(&by(&x, -first)).unwrap().0.downscale(&coarse).unwrap().0;
        let once = x.downscale(&coarse).unwrap().0;
        for (a, b) in twice.elements().iter().zip(once.elements()) {
            prop_assert!((a - b).abs() <= 1, "{a} and {b}");
        }
    }

    #[test]
    fn promoting_and_upscaling_are_undone(x in any_numbers(), more in 0u32..20, shift in 0i32..12) {
        let bits = x.value_bits();
        let wide = x.promote(bits + more).unwrap();
        prop_assert_eq!(reals(&wide), reals(&x));
        prop_assert_eq!(&wide.rescale(x.frac_bits(), Some(bits)).unwrap().0, &x);
        let (fine, made) = x.upscale(&by(&x, shift), Some(WIDE)).unwrap();
        prop_assert!(made.entries().iter().all(|&made| made == shift));
        let (back, made) = fine.downscale(x.frac_bits()).unwrap();
        prop_assert!(made.entries().iter().all(|&made| made == -shift));
        prop_assert_eq!(back.rescale(x.frac_bits(), Some(bits)).unwrap().0, x);
    }

    #[test]
    fn rescaling_is_within_half_a_step_or_saturates(x in any_numbers(), shift in -20i32..2) {
        let (y, _) = x.rescale(&by(&x, shift), None).unwrap();
        let bits = y.frac_bits.of_elements(y.sizes());
        let most = 1i64 << y.value_bits();
        for (at, (from, to)) in reals(&x).iter().zip(reals(&y)).enumerate() {
            let step = 2f64.powi(-bits(at));
            let inside = (-most as f64 * step..=(most - 1) as f64 * step).contains(from);
            prop_assert!(!inside || (from - to).abs() <= step / 2.0, "{from} became {to}");
            prop_assert!(inside || [-most, most - 1].contains(&y.elements()[at]), "{from} became {to}");
        }
    }

    #[test]
    fn aligned_operands_add_up(x in any_numbers(), shift in -6i32..7, bits in 2u32..17) {
        let other = FixedPoint::new(x.sizes(), x.elements().iter().rev().copied(), bits, by(&x, shift)).unwrap();
        let (a, _) = x.align(&other, Some(WIDE)).unwrap();
        let (b, _) = other.align(&x, Some(WIDE)).unwrap();
        prop_assert_eq!((reals(&a), reals(&b)), (reals(&x), reals(&other)));
        let pairs = || reals(&x).into_iter().zip(reals(&other));
        let sum = a.add(&b).unwrap();
        prop_assert_eq!(reals(&sum), pairs().map(|(a, b)| a + b).collect::<Vec<_>>());
        prop_assert_eq!(reals(&a.sub(&b).unwrap()), pairs().map(|(a, b)| a - b).collect::<Vec<_>>());
        prop_assert_eq!(&sum.sub(&b).unwrap(), &a);
        prop_assert_eq!(reals(&a.maximum(&b).unwrap()), pairs().map(|(a, b)| a.max(b)).collect::<Vec<_>>());
        prop_assert_eq!(a.sub(&a).unwrap(), a.zeros_like().unwrap());
    }

    #[test]
    fn expanding_keeps_the_numbers(x in any_numbers()) {
        let (one, shift) = x.expand(WIDE).unwrap();
        prop_assert!(one.is_per_tensor() && one.frac_bits().axis().is_none());
        prop_assert_eq!(one.frac_bits().entries()[0], *x.frac_bits().entries().iter().max().unwrap());
        prop_assert!(shift.entries().contains(&0));
        prop_assert_eq!(reals(&one), reals(&x));
        prop_assert_eq!(&one.expand(WIDE).unwrap().0, &one);
    }

    #[test]
    fn saturating_is_idempotent(x in any_numbers(), bits in 2u32..17) {
        let once = FixedPoint::new(x.sizes(), x.elements().iter().copied(), bits, x.frac_bits().clone()).unwrap();
        prop_assert!(is_saturated(&once));
        let twice = FixedPoint::new(x.sizes(), once.elements().iter().copied(), bits, x.frac_bits().clone());
        prop_assert_eq!(twice.unwrap(), once);
    }

    /// Whatever an operation makes has the value bits that it says.
    #[test]
    fn results_are_saturated(x in any_numbers(), shift in -20i32..20, number in -300i32..300) {
        let all = [
            x.abs(),
            x.sign(),
            x.add(&x),
            x.sub(&x.sign().map(|s| FixedPoint { frac_bits: x.frac_bits.clone(), ..s }).unwrap()),
            x.multiply(&x),
            x.add_int(number),
            x.sub_int(number),
            x.shift(&[], &[shift]),
            x.times_power(&PerChannel::tensor(shift.abs())),
            x.divided_by_power(&PerChannel::tensor(shift.abs())),
            x.floor().map(|y| y.0),
            x.rescale(&by(&x, -shift.abs()), Some(2)).map(|y| y.0),
        ];
        for found in all {
            prop_assert!(is_saturated(&found.unwrap()));
        }
    }

    #[test]
    fn products_and_quotients_are_of_the_reals(x in any_numbers(), values in prop::collection::vec(1i64..100, 9)) {
        let values = values.into_iter().cycle().take(x.elements().len());
        let other = FixedPoint::new(x.sizes(), values, 7, by(&x, 3)).unwrap();
        let wide = x.promote(WIDE).unwrap();
        let product = wide.multiply(&other).unwrap();
        let pairs = reals(&x).into_iter().zip(reals(&other));
        prop_assert_eq!(reals(&product), pairs.map(|(a, b)| a * b).collect::<Vec<_>>());
        prop_assert_eq!(product.divide(&other).unwrap(), wide);
        // Towards 0, whatever the signs.
        let quotient = x.divide_by_int(-3).unwrap();
        for (from, to) in x.elements().iter().zip(quotient.elements()) {
            prop_assert_eq!(*to, from / -3);
        }
    }

    #[test]
    fn shifts_are_powers_of_two(x in any_numbers(), by in 0i32..12) {
        let shift = PerChannel::tensor(by);
        let wide = x.promote(WIDE).unwrap();
        let times = |power: i32| reals(&x).into_iter().map(|v| v * 2f64.powi(power)).collect::<Vec<_>>();
        prop_assert_eq!(reals(&wide.divided_by_power(&shift).unwrap()), times(-by));
        let left = wide.times_power(&shift).unwrap();
        prop_assert_eq!(reals(&left), times(by));
        prop_assert_eq!(&left.shift(&[], &[-by]).unwrap(), &wide);
        prop_assert_eq!(wide.shift(&[], &[by]).unwrap(), left);
        for (from, to) in x.elements().iter().zip(x.shift(&[], &[-by]).unwrap().elements()) {
            prop_assert_eq!(*to, from >> by);
        }
    }

    #[test]
    fn floors_are_below_by_less_than_1(x in any_numbers()) {
        let (whole, shift) = x.promote(WIDE).unwrap().floor().unwrap();
        prop_assert_eq!(&shift, x.frac_bits());
        for (from, to) in reals(&x).into_iter().zip(whole.elements()) {
            prop_assert_eq!(*to, from.floor() as i64);
        }
        let sign = x.sign().unwrap();
        let magnitude = wide_abs(&x);
        for (at, from) in reals(&x).into_iter().enumerate() {
            prop_assert_eq!(sign.elements()[at] as f64 * reals(&magnitude)[at], from);
        }
    }

    #[test]
    fn what_is_quantized_comes_back_within_half_a_step(x in any_scaled(), off in prop::collection::vec(-0.49f64..0.49, 9)) {
        // Between two numbers of the grid, nearer to this one.
        let fixed = x.fixed();
        let (bits, scale) = (fixed.frac_bits.of_elements(fixed.sizes()), x.scales().of_elements(fixed.sizes()));
        let real = |at: usize, v: f64| v * 2f64.powi(-bits(at)) * f64::from(scale(at));
        let near = fixed.elements().iter().enumerate().map(|(at, &v)| real(at, v as f64 + off[at % 9]) as f32);
        let near: Vec<f32> = near.collect();
        let (scales, frac) = (x.scales().clone(), fixed.frac_bits().clone());
        let found = QFloat::quantize(fixed.sizes(), &near, fixed.value_bits(), scales, frac).unwrap();
        for (at, (near, back)) in near.iter().zip(found.to_float()).enumerate() {
            let step = real(at, 1.0);
            let rounding = f64::from(near.abs()) * 2f64.powi(-22);
            let low = real(at, -(2f64.powi(fixed.value_bits() as i32)));
            let high = real(at, 2f64.powi(fixed.value_bits() as i32) - 1.0);
            if (low..=high).contains(&f64::from(*near)) {
                prop_assert!((f64::from(*near) - f64::from(back)).abs() <= step / 2.0 + rounding, "{near} became {back}");
            }
        }
        // Without scales nothing but the grid rounds.
        let again = FixedPoint::quantize(fixed.sizes(), &fixed.to_float(), fixed.value_bits(), Some(fixed.frac_bits().clone()));
        prop_assert_eq!(&again.unwrap(), fixed);
    }

    /// Scales become integers whose leading bit is set, so the reals stay to so many bits.
    #[test]
    fn folded_scales_stay_to_their_bits(x in any_scaled(), bits in 2u32..17) {
        let wide = x.map(|fixed| fixed.promote(WIDE)).unwrap();
        let folded = wide.to_fixed_point(bits).unwrap();
        for (from, to) in x.to_float().into_iter().zip(reals(&folded)) {
            let (from, most) = (f64::from(from), 2f64.powi(1 - bits as i32) + 1e-6);
            prop_assert!((from - to).abs() <= from.abs() * most, "{from} became {to}");
        }
    }

    /// What is joined along the axis of the grids is found again, with its grid.
    #[test]
    fn joined_channels_are_found_again(x in any_scaled()) {
        let Some(from_end) = x.scales().axis() else { return Ok(()) };
        let axis = 2 - from_end as isize;
        let size = x.fixed().sizes()[axis as usize] as isize;
        // One entry may belong to no axis as well.
        if size == 1 {
            return Ok(());
        }
        let both = x.concat(&x.divide_scales(2.0), axis).unwrap();
        for at in 0..size {
            let one = x.gather(at, axis).unwrap();
            prop_assert_eq!(&both.gather(at, axis).unwrap(), &one);
            prop_assert_eq!(&both.gather(size + at, axis).unwrap(), &one.divide_scales(2.0));
        }
    }
}

/// The magnitude, where even the lowest number has one.
fn wide_abs(x: &FixedPoint) -> FixedPoint {
    x.promote(WIDE).unwrap().abs().unwrap()
}
