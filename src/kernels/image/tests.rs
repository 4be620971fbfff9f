//! Layers on images equal the reference kernels with the tail in plain words, on every instruction set of this
//! processor and any number of threads.

use proptest::prelude::*;

use super::*;
use crate::kernels::isa::Isa;
use crate::kernels::{Conv2d, Pool2d, reference};
use crate::tensor::round;

/// Uniform 64-bit values (splitmix64).
fn integers(seed: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |i: u64| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Bytes of which many are extreme.
fn bytes(seed: u64, count: usize) -> Vec<i8> {
    let byte = |bits: u64| match bits >> 61 {
        0 => i8::MIN,
        1 => i8::MAX,
        _ => bits as i8,
    };
    integers(seed).take(count).map(byte).collect()
}

/// The image of `[batch, channels, height, width]`; without offset the bits of uint8.
fn image_of(buffers: &mut Buffers, sizes: [usize; 4], offset: u8, x: &[i8]) -> Image {
    let fill =
        |_, from: &[i8], to: &mut [u8]| to.iter_mut().zip(from).for_each(|(to, &v)| *to = v as u8 ^ offset);
    Image::from_planes(buffers, sizes, offset, x, fill).unwrap()
}

/// Runs on each instruction set, on one thread and on three.
fn everywhere(expected: &[i8], run: impl Fn(Isa) -> Image + Sync) -> Result<(), TestCaseError> {
    for isa in Isa::available() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            let image = pool.install(|| run(isa));
            prop_assert!(image.is_int8());
            let found = image.to_planes(|byte| (byte ^ OFFSET) as i8);
            prop_assert_eq!(expected, &found[..], "{:?}, {} threads", isa, threads);
        }
    }
    Ok(())
}

/// What follows a sum: scales of any size, more often of those that occur.
fn tails(filters: usize) -> impl Strategy<Value = Tail> {
    let exponent = prop_oneof![8 => 4..20i32, 1 => -24..0i32, 1 => 20..40i32];
    let scale = move || {
        let scale = (any::<u8>(), exponent.clone());
        scale.prop_map(|(multiplier, exponent)| Scale { multiplier, exponent })
    };
    let scales = prop::collection::vec(scale(), filters);
    let index = prop::collection::vec(scale(), filters);
    let ceiling = prop::option::of(prop::collection::vec(-100..200_000i32, filters));
    let entries = prop::collection::vec(-8192..8192i32, round::TABLE);
    let table = prop::option::weighted(0.2, (index, entries));
    (any::<bool>(), ceiling, table, prop::bool::weighted(0.2), scales).prop_map(
        |(relu, ceiling, table, global, scales)| {
            let table = table.map(|(index, entries)| Table { index, entries });
            let relu = relu && table.is_none();
            Tail { relu, ceiling: ceiling.filter(|_| relu), table, global, rescale: Some(scales) }
        },
    )
}

/// The tail in plain words, of sums `[batch, filters, map]`.
fn follow(tail: &Tail, filters: usize, map: usize, sums: &[i32]) -> Vec<i8> {
    let scale = |scale: Scale, x: i64, bits| round::rescale_exact(x, scale.multiplier, scale.exponent, bits);
    let mut out = Vec::new();
    for (plane, sums) in sums.chunks_exact(map).enumerate() {
        let filter = plane % filters;
        let activated = sums.iter().map(|&sum| {
            let mut x = sum;
            if let Some(table) = &tail.table {
                let index = scale(table.index[filter], x.into(), 11);
                x = table.entries[if index < 0 { index + 2048 } else { index } as usize];
            }
            if tail.relu {
                x = x.max(0);
            }
            if let Some(ceiling) = &tail.ceiling {
                x = x.min(ceiling[filter]);
            }
            i64::from(x)
        });
        let last = |x: i64| scale(tail.rescale.as_ref().expect("a rescale")[filter], x, 8) as i8;
        if tail.global {
            out.push(last(activated.sum()));
        } else {
            out.extend(activated.map(last));
        }
    }
    out
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    size: [usize; 2],
    shape: ConvShape,
    seed: u64,
    biased: bool,
    unsigned: bool,
    tail: Tail,
}

fn cases(depthwise: bool) -> impl Strategy<Value = Case> {
    let channels = prop_oneof![1..20usize, 30..70usize, Just(130usize)];
    let filters = prop_oneof![1..20usize, 30..70usize, Just(150usize)];
    let sizes = (1..3usize, [1..12usize, 1..12usize], channels, filters);
    let window =
        ([1..6usize, 1..6usize], [1..4usize, 1..4usize], [0..3usize, 0..3usize, 0..3usize, 0..3usize]);
    let flags = (any::<u64>(), any::<bool>(), any::<bool>());
    (sizes, window, flags)
        .prop_filter("a kernel that fits", |((_, size, ..), (kernel, _, pads), _)| {
            (0..2).all(|i| size[i] + pads[i] + pads[i + 2] >= kernel[i])
        })
        .prop_flat_map(move |((batch, size, channels, filters), (kernel, strides, pads), flags)| {
            let filters = if depthwise { channels } else { filters };
            let shape = ConvShape { filters, channels, kernel, strides, pads };
            tails(filters).prop_map(move |tail| {
                let (seed, biased, unsigned) = flags;
                Case { batch, size, shape, seed, biased, unsigned, tail }
            })
        })
}

fn conv2d(case: &Case, group: usize) -> Conv2d {
    let ConvShape { filters, channels, kernel, strides, pads } = case.shape;
    let ([height, width], batch) = (case.size, case.batch);
    Conv2d { batch, channels, height, width, filters, kernel, strides, dilations: [1, 1], pads, group }
}

fn bias(case: &Case) -> Option<Vec<i32>> {
    case.biased.then(|| integers(!case.seed).take(case.shape.filters).map(|bits| bits as i32 >> 12).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn convolutions(case in cases(false)) {
        let Case { batch, size: [height, width], shape, seed, unsigned, ref tail, .. } = case;
        let conv = conv2d(&case, 1);
        let x = bytes(seed, batch * shape.channels * height * width);
        let w = bytes(seed ^ 1, shape.filters * shape.channels * shape.kernel[0] * shape.kernel[1]);
        let bias = bias(&case);
        let pad: Vec<u8> = bytes(seed ^ 2, shape.channels).iter().map(|&v| v as u8).collect();
        let pad_value: Vec<i32> = pad.iter().map(|&v| v.into()).collect();
        let offset = if unsigned { 0 } else { OFFSET };
        let sums = if unsigned {
            let x: Vec<u8> = x.iter().map(|&v| v as u8).collect();
            reference::conv2d_integer::<u8, i32>(&conv, &x, &w, bias.as_deref(), Some(&pad_value)).unwrap()
        } else {
            reference::conv2d_integer::<i8, i32>(&conv, &x, &w, bias.as_deref(), None).unwrap()
        };
        let [rows, columns] = conv.out_size().unwrap();
        let expected = follow(tail, shape.filters, rows * columns, &sums);
        let sizes = [batch, shape.channels, height, width];
        everywhere(&expected, |isa| {
            let mut buffers = Buffers::default();
            let image = image_of(&mut buffers, sizes, offset, &x);
            let pad = unsigned.then_some(&pad[..]);
            let conv = Conv::new_on(isa, shape, offset, &w, bias.as_deref(), pad, tail.clone()).unwrap();
            conv.run(&image, &mut buffers).unwrap()
        })?;
    }

    #[test]
    fn depthwise_convolutions(case in cases(true)) {
        let Case { batch, size: [height, width], shape, seed, ref tail, .. } = case;
        let ConvShape { channels, kernel, strides, pads, .. } = shape;
        let conv = conv2d(&case, channels);
        let x = bytes(seed, batch * channels * height * width);
        let w = bytes(seed ^ 1, channels * kernel[0] * kernel[1]);
        let bias = bias(&case);
        let sums = reference::conv2d_integer::<i8, i32>(&conv, &x, &w, bias.as_deref(), None).unwrap();
        let [rows, columns] = conv.out_size().unwrap();
        let expected = follow(tail, channels, rows * columns, &sums);
        everywhere(&expected, |isa| {
            let mut buffers = Buffers::default();
            let sizes = [batch, channels, height, width];
            let image = image_of(&mut buffers, sizes, OFFSET, &x);
            let window = channelwise::Window::Kernel { kernel, strides, pads };
            let (taps, w) = (kernel[0] * kernel[1], w.iter().map(|&w| w.into()).collect::<Vec<i16>>());
            let layer = Channelwise::new_on(
                isa, window, channels, taps, OFFSET, &w, bias.as_deref(), tail.clone(),
            );
            layer.unwrap().run(&[&image], &mut buffers).unwrap()
        })?;
    }

    #[test]
    fn sums_of_images(case in cases(true), weights in prop::collection::vec((1..9u32, 1..9u32), 130)) {
        let Case { batch, size: [height, width], shape: ConvShape { channels, .. }, seed, ref tail, .. } = case;
        let tail = Tail { global: false, ..tail.clone() };
        let (count, map) = (batch * channels * height * width, height * width);
        let (a, b) = (bytes(seed, count), bytes(seed ^ 1, count));
        let weights: Vec<[i16; 2]> =
            weights.iter().take(channels).map(|&(a, b)| [1 << a, 1 << b]).collect();
        let sums: Vec<i32> = (0..count)
            .map(|i| {
                let [w, v] = weights[i / map % channels].map(i32::from);
                w * i32::from(a[i]) + v * i32::from(b[i])
            })
            .collect();
        let expected = follow(&tail, channels, map, &sums);
        everywhere(&expected, |isa| {
            let mut buffers = Buffers::default();
            let sizes = [batch, channels, height, width];
            let mut image = |x| image_of(&mut buffers, sizes, OFFSET, x);
            let (a, b) = (image(&a), image(&b));
            let layer = Channelwise::new_on(
                isa, channelwise::Window::Images, channels, 2, OFFSET, &weights.concat(), None, tail.clone(),
            );
            layer.unwrap().run(&[&a, &b], &mut buffers).unwrap()
        })?;
    }

    #[test]
    fn max_pools(case in cases(true)) {
        let Case { batch, size: [height, width], shape, seed, .. } = case;
        let ConvShape { channels, kernel, strides, pads, .. } = shape;
        let pool = Pool2d {
            batch, channels, height, width, kernel, strides, dilations: [1, 1], pads, ceil_mode: false,
        };
        let x = bytes(seed, batch * channels * height * width);
        let expected = reference::max_pool(&pool, &x).unwrap();
        let mut buffers = Buffers::default();
        let sizes = [batch, channels, height, width];
        let image = image_of(&mut buffers, sizes, OFFSET, &x);
        let empty = [(height, 0), (width, 1)].iter().any(|&(size, i)| {
            let ends = [pads[i], pads[i + 2]];
            let out = (size + ends[0] + ends[1] - kernel[i]) / strides[i] + 1;
            (0..out).any(|o| (0..kernel[i]).all(|t| {
                (o * strides[i] + t).checked_sub(ends[0]).is_none_or(|at| at >= size)
            }))
        });
        match max_pool(&pool, &image, &mut buffers) {
            Ok(image) => {
                prop_assert!(!empty);
                prop_assert_eq!(expected, image.to_planes(|byte| (byte ^ OFFSET) as i8));
            }
            Err(_) => prop_assert!(empty),
        }
    }
}
