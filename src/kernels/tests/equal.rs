//! Every fast form equals its reference, bit by bit: on each instruction set of this CPU, on one
//! thread and on several, for all kinds of geometry and of values.

use std::fmt::Debug;

use proptest::prelude::*;

use super::super::isa::Isa;
use super::super::*;
use crate::kernels::{conv, dense, transpose};

/// Floats by their bits, so that signs of zero and NaNs count.
trait Bits {
    type Bits: PartialEq + Debug;
    fn bits(&self) -> Self::Bits;
}

macro_rules! bits {
    ($($type:ty, $bits:ty, $to:expr;)*) => {$(
        impl Bits for $type {
            type Bits = $bits;
            fn bits(&self) -> $bits {
                $to(*self)
            }
        }
    )*};
}

bits! {
    f32, u32, f32::to_bits;
    f64, u64, f64::to_bits;
    i8, i8, |v| v;
    u8, u8, |v| v;
    i32, i32, |v| v;
    i64, i64, |v| v;
}

fn all_bits<T: Bits>(result: Result<Vec<T>, Error>) -> Result<Vec<T::Bits>, Error> {
    result.map(|values| values.iter().map(Bits::bits).collect())
}

/// Values from a seed, of sizes whose sums round; `special` of 64 are special.
fn floats(seed: u64, count: usize, special: u64) -> Vec<f64> {
    const SPECIAL: [f64; 8] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e-45, -1e-40, 3e38];
    integers(seed, count)
        .map(|bits| {
            if bits >> 58 < special {
                SPECIAL[(bits % 8) as usize]
            } else {
                f64::from(bits as i32) / f64::from(1 << (bits >> 60))
            }
        })
        .collect()
}

/// Uniform 64-bit values (splitmix64).
fn integers(seed: u64, count: usize) -> impl Iterator<Item = u64> {
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Runs on each instruction set, on one thread and on three.
fn everywhere<T: Bits + Send>(
    expected: Result<Vec<T>, Error>,
    run: impl Fn(Isa) -> Result<Vec<T>, Error> + Sync,
) -> Result<(), TestCaseError> {
    let expected = all_bits(expected);
    for isa in Isa::available() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let found = pool.expect("a thread pool").install(|| run(isa));
            prop_assert_eq!(&expected, &all_bits(found), "{:?}, {} threads", isa, threads);
        }
    }
    Ok(())
}

prop_compose! {
    fn axis()(size in 0usize..20, kernel in 1usize..5, stride in 1usize..4, dilation in 1usize..4,
              before in 0usize..5, after in 0usize..5)
        -> (usize, usize, usize, usize, usize, usize) {
        (size, kernel, stride, dilation, before, after)
    }
}

prop_compose! {
    /// Any group count that gives few channels; the output may be empty.
    fn convolution()(rows in axis(), columns in axis(), batch in 0usize..4, group in 1usize..4,
                     channels in prop_oneof![0usize..6, Just(1)],
                     filters in prop_oneof![0usize..4, 7usize..20], plain in any::<bool>()) -> Conv2d {
        let mut conv = Conv2d {
            batch,
            channels: channels * group,
            height: rows.0,
            width: columns.0,
            filters: filters * group,
            kernel: [rows.1, columns.1],
            strides: [rows.2, columns.2],
            dilations: [rows.3, columns.3],
            pads: [rows.4, columns.4, rows.5, columns.5],
            group,
        };
        if plain {
            conv = Conv2d { kernel: [1, 1], strides: [1, 1], pads: [0; 4], ..conv };
        }
        conv
    }
}

prop_compose! {
    /// As above, with what is added to the output.
    fn transposed()(conv in convolution(), added in [0usize..4, 0usize..4]) -> ConvTranspose2d {
        let Conv2d { batch, channels, height, width, filters, kernel, strides, dilations, pads, group } = conv;
        ConvTranspose2d {
            batch, channels, height, width, filters, kernel, strides, dilations, pads, group, output_padding: added,
        }
    }
}

prop_compose! {
    fn pooling()(rows in axis(), columns in axis(), batch in 0usize..3, channels in 0usize..4,
                 ceil_mode in any::<bool>()) -> Pool2d {
        Pool2d {
            batch,
            channels,
            height: rows.0,
            width: columns.0,
            kernel: [rows.1, columns.1],
            strides: [rows.2, columns.2],
            dilations: [rows.3, columns.3],
            pads: [rows.4, columns.4, rows.5, columns.5],
            ceil_mode,
        }
    }
}

fn convolve_floats<T: Float + Bits>(
    conv: &Conv2d,
    seed: u64,
    from: impl Fn(f64) -> T,
) -> Result<(), TestCaseError> {
    let Ok(plan) = conv.plan() else {
        prop_assert_eq!(conv::conv2d::<T>(conv, &[], &[], None), Err(Error::Geometry));
        return Ok(());
    };
    let special = u64::from(seed.is_multiple_of(4));
    let values = |seed, count| floats(seed, count, special).into_iter().map(&from).collect::<Vec<T>>();
    let (input, weights) = (values(seed, plan.input), values(seed ^ 1, plan.weights));
    let bias = (!seed.is_multiple_of(3)).then(|| values(seed ^ 2, plan.bias));
    let bias = bias.as_deref();
    everywhere(reference::conv2d(conv, &input, &weights, bias), |isa| {
        conv::conv2d_on(isa, conv, &input, &weights, bias)
    })
}

fn convolve_integers<A, S>(conv: &Conv2d, seed: u64, from: impl Fn(u64) -> A) -> Result<(), TestCaseError>
where
    A: Byte,
    S: Accumulator + Bits,
{
    let Ok(plan) = conv.plan() else { return Ok(()) };
    let input: Vec<A> = integers(seed, plan.input).map(from).collect();
    let weights: Vec<i8> = integers(seed ^ 1, plan.weights).map(|v| v as i8).collect();
    let bias: Vec<S> = integers(seed ^ 2, plan.bias).map(|v| S::wrap(v as i64)).collect();
    let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
    let pad_value: Vec<i32> = integers(seed ^ 3, conv.channels).map(|v| v as i32).collect();
    let pad_value = (!seed.is_multiple_of(2)).then_some(&pad_value[..]);
    everywhere(reference::conv2d_integer(conv, &input, &weights, bias, pad_value), |isa| {
        conv::conv2d_integer_on(isa, conv, &input, &weights, bias, pad_value)
    })
}

fn transpose_floats<T: Float + Bits>(
    conv: &ConvTranspose2d,
    seed: u64,
    from: impl Fn(f64) -> T,
) -> Result<(), TestCaseError> {
    let Ok(plan) = conv.plan() else {
        prop_assert_eq!(conv_transpose2d::<T>(conv, &[], &[], None), Err(Error::Geometry));
        return Ok(());
    };
    let special = u64::from(seed.is_multiple_of(4));
    let values = |seed, count| floats(seed, count, special).into_iter().map(&from).collect::<Vec<T>>();
    let (input, weights) = (values(seed, plan.input), values(seed ^ 1, plan.weights));
    let bias = (!seed.is_multiple_of(3)).then(|| values(seed ^ 2, conv.filters));
    let bias = bias.as_deref();
    everywhere(reference::conv_transpose2d(conv, &input, &weights, bias), |isa| {
        transpose::conv_transpose2d_on(isa, conv, &input, &weights, bias)
    })
}

fn transpose_integers<S: Accumulator + Bits>(conv: &ConvTranspose2d, seed: u64) -> Result<(), TestCaseError> {
    let Ok(plan) = conv.plan() else { return Ok(()) };
    let values = |seed, count| integers(seed, count).map(|v| v as i8).collect::<Vec<i8>>();
    let (input, weights) = (values(seed, plan.input), values(seed ^ 1, plan.weights));
    let bias: Vec<S> = integers(seed ^ 2, conv.filters).map(|v| S::wrap(v as i64)).collect();
    let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
    everywhere(reference::conv_transpose2d_integer(conv, &input, &weights, bias), |isa| {
        transpose::conv_transpose2d_integer_on(isa, conv, &input, &weights, bias)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn transposed_convolution(conv in transposed(), seed in any::<u64>()) {
        transpose_floats::<f32>(&conv, seed, |v| v as f32)?;
        transpose_floats::<f64>(&conv, seed, |v| v)?;
        transpose_integers::<i32>(&conv, seed)?;
        transpose_integers::<i64>(&conv, seed)?;
    }

    #[test]
    fn float_convolution(conv in convolution(), seed in any::<u64>()) {
        convolve_floats::<f32>(&conv, seed, |v| v as f32)?;
    }

    #[test]
    fn double_convolution(conv in convolution(), seed in any::<u64>()) {
        convolve_floats::<f64>(&conv, seed, |v| v)?;
    }

    #[test]
    fn integer_convolution(conv in convolution(), seed in any::<u64>()) {
        convolve_integers::<i8, i32>(&conv, seed, |v| v as i8)?;
        convolve_integers::<u8, i32>(&conv, seed, |v| v as u8)?;
    }

    #[test]
    fn wide_integer_convolution(conv in convolution(), seed in any::<u64>()) {
        convolve_integers::<i8, i64>(&conv, seed, |v| v as i8)?;
        convolve_integers::<u8, i64>(&conv, seed, |v| v as u8)?;
    }

    #[test]
    fn products(m in 0usize..30, k in 0usize..40, n in 0usize..120, seed in any::<u64>()) {
        let special = u64::from(seed.is_multiple_of(4));
        let values = |seed, count| -> Vec<f32> {
            floats(seed, count, special).into_iter().map(|v| v as f32).collect()
        };
        let (a, b, bias) = (values(seed, m * k), values(seed ^ 1, k * n), values(seed ^ 2, n));
        let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
        everywhere(reference::matmul(m, k, n, &a, &b), |isa| dense::matmul_on(isa, m, k, n, &a, &b))?;
        everywhere(reference::dense(m, k, n, &a, &b, bias), |isa| {
            dense::dense_on(isa, m, k, n, &a, &b, bias)
        })?;
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let (a, b) = (wide(&a), wide(&b));
        everywhere(reference::matmul(m, k, n, &a, &b), |isa| dense::matmul_on(isa, m, k, n, &a, &b))?;
    }

    #[test]
    fn integer_products(m in 0usize..30, k in 0usize..60, n in 0usize..40, seed in any::<u64>()) {
        let a: Vec<u8> = integers(seed, m * k).map(|v| v as u8).collect();
        let w: Vec<i8> = integers(seed ^ 1, k * n).map(|v| v as i8).collect();
        let bias: Vec<i32> = integers(seed ^ 2, n).map(|v| v as i32).collect();
        let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
        everywhere(reference::dense_integer(m, k, n, &a, &w, bias), |isa| {
            dense::dense_integer_on(isa, m, k, n, &a, &w, bias)
        })?;
        everywhere(reference::dense_integer::<_, i64>(m, k, n, &a, &w, None), |isa| {
            dense::dense_integer_on(isa, m, k, n, &a, &w, None)
        })?;
    }
}

fn pool_floats<T: Float + Ordered + Bits>(
    pool: &Pool2d,
    seed: u64,
    from: impl Fn(f64) -> T,
) -> Result<(), TestCaseError> {
    let count = pool.plan().map_or(0, |plan| plan.input);
    let input: Vec<T> =
        floats(seed, count, if seed.is_multiple_of(2) { 24 } else { 0 }).into_iter().map(from).collect();
    prop_assert_eq!(all_bits(reference::max_pool(pool, &input)), all_bits(max_pool(pool, &input)));
    for include in [false, true] {
        let expected = reference::avg_pool(pool, include, &input);
        prop_assert_eq!(all_bits(expected), all_bits(avg_pool(pool, include, &input)));
    }
    let expected = reference::global_average(count, 1, &input);
    prop_assert_eq!(all_bits(expected), all_bits(global_average(count, 1, &input)));
    let planes = pool.batch * pool.channels;
    let expected = reference::global_average(planes, pool.height * pool.width, &input);
    prop_assert_eq!(all_bits(expected), all_bits(global_average(planes, pool.height * pool.width, &input)));
    Ok(())
}

fn pool_integers<T: Ordered + Bits>(
    pool: &Pool2d,
    seed: u64,
    from: impl Fn(u64) -> T,
) -> Result<(), TestCaseError> {
    let count = pool.plan().map_or(0, |plan| plan.input);
    let input: Vec<T> = integers(seed, count).map(from).collect();
    prop_assert_eq!(all_bits(reference::max_pool(pool, &input)), all_bits(max_pool(pool, &input)));
    Ok(())
}

proptest! {
    #[test]
    fn pools(pool in pooling(), seed in any::<u64>()) {
        pool_floats::<f32>(&pool, seed, |v| v as f32)?;
        pool_floats::<f64>(&pool, seed, |v| v)?;
        pool_integers::<i8>(&pool, seed, |v| v as i8)?;
        pool_integers::<u8>(&pool, seed, |v| v as u8)?;
        pool_integers::<i32>(&pool, seed, |v| v as i32)?;
        pool_integers::<i64>(&pool, seed, |v| v as i64)?;
    }
}

/// More products of the greatest size than 32 bits hold, in both layouts.
#[test]
fn wide_sums_do_not_wrap() {
    let k = 150_001;
    let (input, weights) = (vec![255u8; k], vec![-128i8; k]);
    let expected = vec![-255 * 128 * k as i64 - 1];
    assert_eq!(dense_integer(1, k, 1, &input, &weights, Some(&[-1])), Ok(expected.clone()));
    let conv = Conv2d {
        batch: 1,
        channels: k,
        height: 1,
        width: 1,
        filters: 1,
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0; 4],
        group: 1,
    };
    assert_eq!(conv2d_integer(&conv, &input, &weights, Some(&[-1]), None), Ok(expected));
}

/// Windows far larger than the input, and planes large enough for many tasks.
#[test]
fn unusual_windows() {
    let huge = Pool2d {
        batch: 1,
        channels: 2,
        height: 2,
        width: 3,
        kernel: [1 << 40, 1 << 20],
        strides: [1 << 39, 1 << 19],
        dilations: [1, 2],
        pads: [1 << 39, 1 << 20, 1 << 39, 1 << 20],
        ceil_mode: true,
    };
    assert!(huge.out_size().is_some());
    pool_floats::<f32>(&huge, 1, |v| v as f32).expect("equal");
    let large = Pool2d { height: 112, width: 112, channels: 7, ..huge };
    let large = Pool2d { kernel: [3, 3], strides: [2, 2], dilations: [1, 1], pads: [1; 4], ..large };
    pool_floats::<f32>(&large, 1, |v| v as f32).expect("equal");
}

/// Geometry whose layout would be nearly all padding.
#[test]
fn mostly_padding() {
    let conv = Conv2d {
        batch: 1,
        channels: 1,
        height: 2,
        width: 3,
        filters: 2,
        kernel: [2, 2],
        strides: [50_000, 1],
        dilations: [40_000, 1],
        pads: [40_000, 0, 60_000, 0],
        group: 1,
    };
    convolve_floats::<f32>(&conv, 1, |v| v as f32).expect("equal");
    convolve_integers::<u8, i32>(&conv, 1, |v| v as u8).expect("equal");
}

/// Planes large enough for many tasks, images for more than one block, sums for more than one part.
#[test]
fn large_sizes() {
    let conv = Conv2d {
        batch: 2,
        channels: 6,
        height: 61,
        width: 67,
        filters: 26,
        kernel: [3, 3],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [1, 1, 1, 1],
        group: 2,
    };
    convolve_floats::<f32>(&conv, 1, |v| v as f32).expect("equal");
    convolve_integers::<u8, i32>(&conv, 1, |v| v as u8).expect("equal");
    let plain = Conv2d { kernel: [1, 1], pads: [0; 4], ..conv };
    convolve_floats::<f32>(&plain, 2, |v| v as f32).expect("equal");
    let images = Conv2d { batch: 3, channels: 8, height: 220, width: 220, filters: 1, group: 1, ..conv };
    let images = Conv2d { kernel: [1, 2], ..images };
    convolve_floats::<f32>(&images, 1, |v| v as f32).expect("equal");
    let deep = Conv2d { batch: 1, channels: 8001, height: 3, width: 3, filters: 9, group: 1, ..conv };
    convolve_integers::<i8, i64>(&deep, 1, |_| -128).expect("equal");
    convolve_integers::<u8, i32>(&deep, 1, |v| v as u8).expect("equal");
}
