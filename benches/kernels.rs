//! Convolutions of well-known networks and dense layers, one image on one thread; items are
//! multiply-accumulates (half an operation each).

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use qirc::kernels::image::{Buffers, Channelwise, Conv, ConvShape, Image, OFFSET, Scale, Tail};
use qirc::kernels::{Conv2d, conv2d, conv2d_integer, dense, dense_integer};

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first thread pool");
    divan::main();
}

/// Name, channels, filters, kernel, stride, size, group.
const SHAPES: [(&str, usize, usize, usize, usize, usize, usize); 9] = [
    ("64-64 3x3 @56", 64, 64, 3, 1, 56, 1),
    ("256-256 3x3 @14", 256, 256, 3, 1, 14, 1),
    ("512-512 3x3 @7", 512, 512, 3, 1, 7, 1),
    ("3-64 7x7/2 @224", 3, 64, 7, 2, 224, 1),
    ("64-128 3x3/2 @56", 64, 128, 3, 2, 56, 1),
    ("256-64 1x1 @56", 256, 64, 1, 1, 56, 1),
    ("1024-256 1x1 @14", 1024, 256, 1, 1, 14, 1),
    ("512-2048 1x1 @7", 512, 2048, 1, 1, 7, 1),
    ("depthwise 144 3x3 @56", 144, 144, 3, 1, 56, 144),
];

fn shapes() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.0)
}

fn conv(name: &str) -> Conv2d {
    let shape = SHAPES.iter().find(|shape| shape.0 == name);
    let &(_, channels, filters, kernel, stride, size, group) = shape.expect("a name from the table");
    Conv2d {
        batch: 1,
        channels,
        height: size,
        width: size,
        filters,
        kernel: [kernel; 2],
        strides: [stride; 2],
        dilations: [1, 1],
        pads: [kernel / 2; 4],
        group,
    }
}

fn products(conv: &Conv2d) -> ItemsCount {
    let [rows, columns] = conv.out_size().expect("a valid shape");
    let taps = conv.channels / conv.group * conv.kernel[0] * conv.kernel[1];
    ItemsCount::new(conv.filters * rows * columns * taps)
}

fn weights(conv: &Conv2d) -> usize {
    conv.filters * conv.channels / conv.group * conv.kernel[0] * conv.kernel[1]
}

fn numbers(count: usize) -> impl Iterator<Item = i32> {
    (0..count as i32).map(|i| i.wrapping_mul(1_234_567) >> 20)
}

#[divan::bench(args = shapes(), max_time = 1)]
fn float(bencher: Bencher, name: &str) {
    let conv = conv(name);
    let input: Vec<f32> = numbers(conv.channels * conv.height * conv.width).map(|v| v as f32).collect();
    let weights: Vec<f32> = numbers(weights(&conv)).map(|v| v as f32).collect();
    let bias = vec![1.0; conv.filters];
    let bencher = bencher.counter(products(&conv));
    bencher.bench_local(|| conv2d(black_box(&conv), &input, &weights, Some(&bias)));
}

/// A layer of the device made ready: with bias, ReLU and rescale to int8.
#[divan::bench(args = shapes(), max_time = 1)]
fn layer(bencher: Bencher, name: &str) {
    let conv = conv(name);
    let sizes = [1, conv.channels, conv.height, conv.width];
    let input: Vec<u8> = numbers(sizes.iter().product()).map(|v| v as u8).collect();
    let weights: Vec<i8> = numbers(weights(&conv)).map(|v| v as i8).collect();
    let (bias, filters) = (vec![1; conv.filters], conv.filters);
    let scales = vec![Scale { multiplier: 200, exponent: 18 }; filters];
    let tail = Tail { relu: true, rescale: Some(scales), ..Tail::default() };
    let mut buffers = Buffers::default();
    let fill = |_: usize, from: &[u8], to: &mut [u8]| to.copy_from_slice(from);
    let image = Image::from_planes(&mut buffers, sizes, OFFSET, &input, fill).expect("an image");
    let bencher = bencher.counter(products(&conv));
    let Conv2d { channels, kernel, strides, pads, group, .. } = conv;
    if group == 1 {
        let shape = ConvShape { filters, channels, kernel, strides, pads };
        let layer = Conv::new(shape, OFFSET, &weights, Some(&bias), None, tail).expect("a layer");
        bencher.bench_local(|| {
            let image = layer.run(black_box(&image), &mut buffers).expect("a result");
            buffers.give_back(image);
        });
    } else {
        let layer =
            Channelwise::depthwise(channels, kernel, strides, pads, OFFSET, &weights, Some(&bias), tail);
        let layer = layer.expect("a layer");
        bencher.bench_local(|| {
            let image = layer.run(&[black_box(&image)], &mut buffers).expect("a result");
            buffers.give_back(image);
        });
    }
}

#[divan::bench(args = shapes(), max_time = 1)]
fn integer(bencher: Bencher, name: &str) {
    let conv = conv(name);
    let input: Vec<u8> = numbers(conv.channels * conv.height * conv.width).map(|v| v as u8).collect();
    let weights: Vec<i8> = numbers(weights(&conv)).map(|v| v as i8).collect();
    let bias = vec![1; conv.filters];
    let bencher = bencher.counter(products(&conv));
    bencher.bench_local(|| conv2d_integer::<u8, i32>(black_box(&conv), &input, &weights, Some(&bias), None));
}

#[divan::bench(args = [1, 32], max_time = 1)]
fn dense_2048_1000(bencher: Bencher, batch: usize) {
    let input: Vec<f32> = numbers(batch * 2048).map(|v| v as f32).collect();
    let weights: Vec<f32> = numbers(2048 * 1000).map(|v| v as f32).collect();
    let bencher = bencher.counter(ItemsCount::new(batch * 2048 * 1000));
    bencher.bench_local(|| dense(black_box(batch), 2048, 1000, &input, &weights, None));
}

#[divan::bench(args = [1, 32], max_time = 1)]
fn dense_2048_1000_integer(bencher: Bencher, batch: usize) {
    let input: Vec<u8> = numbers(batch * 2048).map(|v| v as u8).collect();
    let weights: Vec<i8> = numbers(2048 * 1000).map(|v| v as i8).collect();
    let bencher = bencher.counter(ItemsCount::new(batch * 2048 * 1000));
    bencher.bench_local(|| dense_integer::<u8, i32>(black_box(batch), 2048, 1000, &input, &weights, None));
}
