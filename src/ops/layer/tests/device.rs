//! What the device's tools do not take, as they were seen to refuse it or to compute it otherwise.

use super::*;
use crate::diag::Report;
use crate::ops::{LowerCx, Lowered};

/// The codes of what is beyond the device in the integer form of a layer, all of whose operands but x are constant.
fn codes(op: &str, attrs: &Attrs, operands: &[Option<Tensor>]) -> Vec<&'static str> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs.clone()).unwrap();
    let entry = registry.get(op).unwrap();
    let types: Vec<Option<TensorType>> =
        operands.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
    let results = registry.infer(op, &attrs, &types).unwrap();
    let call = Call { schema: &entry.schema, attrs: &attrs, operands: &types };
    let names: Vec<String> = operands
        .iter()
        .enumerate()
        .map(|(at, t)| t.as_ref().map_or(String::new(), |_| format!("v{at}")))
        .collect();
    let constants: Vec<Option<&Tensor>> =
        operands.iter().enumerate().map(|(at, tensor)| tensor.as_ref().filter(|_| at > 0)).collect();
    let results_names = ["y".to_owned()];
    let mut cx = LowerCx::new(call, "n", &names, &results_names, &results, &constants);
    match entry.operator.lower(&mut cx).unwrap() {
        Lowered::Layer { limits, .. } => limits.iter().map(|limit| limit.code()).collect(),
        Lowered::Nodes(_) => panic!("{op} is no layer"),
    }
}

struct Conv {
    uint8: bool,
    depthwise: bool,
    channels: usize,
    map: [usize; 2],
    kernel: [usize; 2],
    strides: [i64; 2],
    pads: [i64; 4],
    pool: Option<([i64; 2], [i64; 2], [i64; 4])>,
    global: bool,
    bias: i32,
    divisor: f32,
    padding: i32,
}

const CONV: Conv = Conv {
    uint8: false,
    depthwise: false,
    channels: 3,
    map: [12, 13],
    kernel: [3, 3],
    strides: [1, 1],
    pads: [1, 1, 1, 1],
    pool: None,
    global: false,
    bias: 0,
    divisor: 1024.0,
    padding: 0,
};

impl Conv {
    fn codes(&self) -> Vec<&'static str> {
        let c = self.channels;
        let sizes = [1, c, self.map[0], self.map[1]];
        let count = sizes.iter().product();
        let x = if self.uint8 {
            Tensor::new(&sizes, vec![7u8; count])
        } else {
            Tensor::new(&sizes, vec![7i8; count])
        };
        let w = [c, if self.depthwise { 1 } else { c }, self.kernel[0], self.kernel[1]];
        let mut attrs = Attrs::new().with("strides", self.strides.to_vec()).with("pads", self.pads.to_vec());
        if let Some((window, strides, pads)) = self.pool {
            attrs = attrs
                .with("pool", "MaxPool")
                .with("pool_size", window.to_vec())
                .with("pool_strides", strides.to_vec())
                .with("pool_pads", pads.to_vec());
        }
        if self.global {
            attrs = attrs.with("pool", "GlobalAvgPool");
        }
        let op = if self.depthwise { "QuantizedDepthwise2D" } else { "QuantizedConv2D" };
        let operands = [
            x,
            Tensor::new(&w, vec![1i8; w.iter().product()]),
            Tensor::new(&[c], vec![self.bias; c]),
            self.uint8.then(|| Tensor::vector(vec![self.padding; c])),
            None,
            Tensor::new(&[1, 1, 1, 1], vec![128u8]),
            Tensor::new(&[1, 1, 1, 1], vec![self.divisor]),
        ];
        codes(op, &attrs, &operands)
    }
}

#[test]
fn kernels_strides_and_pads_of_convolutions() {
    let refuses = |conv: Conv, expected: &[&str]| assert_eq!(conv.codes(), expected);
    refuses(CONV, &[]);
    refuses(Conv { pads: [0; 4], ..CONV }, &[]);
    refuses(Conv { pads: [0, 0, 2, 2], ..CONV }, &["Q0643"]);
    refuses(Conv { kernel: [9, 9], pads: [4; 4], ..CONV }, &[]);
    refuses(Conv { kernel: [2, 2], pads: [0, 0, 1, 1], ..CONV }, &["Q0641"]);
    refuses(Conv { kernel: [1, 3], pads: [0, 1, 0, 1], ..CONV }, &["Q0640"]);
    refuses(Conv { strides: [1, 2], ..CONV }, &["Q0640"]);
    // By 2: the odd pad at the end, at the begin, or as many at both.
    for pads in [[0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1], [0; 4]] {
        refuses(Conv { strides: [2, 2], pads, ..CONV }, &[]);
    }
    refuses(Conv { strides: [2, 2], pads: [0, 1, 1, 0], ..CONV }, &["Q0643"]);
    refuses(Conv { strides: [2, 2], kernel: [1, 1], pads: [0; 4], ..CONV }, &[]);
    refuses(Conv { strides: [2, 2], kernel: [5, 5], pads: [1, 2, 2, 2], ..CONV }, &["Q0642"]);
    refuses(Conv { strides: [2, 2], kernel: [5, 5], pads: [2, 2, 2, 2], ..CONV }, &["Q0642", "Q0643"]);
    refuses(Conv { strides: [3, 3], pads: [0; 4], ..CONV }, &["Q0642"]);

    let dw = || Conv { depthwise: true, ..CONV };
    refuses(Conv { kernel: [5, 5], pads: [2; 4], ..dw() }, &[]);
    refuses(Conv { strides: [2, 2], ..dw() }, &[]);
    refuses(Conv { strides: [2, 2], kernel: [1, 1], pads: [0; 4], ..dw() }, &["Q0642"]);
    refuses(Conv { strides: [2, 2], kernel: [5, 5], pads: [1, 2, 2, 2], ..dw() }, &["Q0642"]);

    // The first convolution has any kernel and stride.
    let first = || Conv { uint8: true, ..CONV };
    refuses(Conv { kernel: [2, 2], pads: [0, 0, 1, 1], ..first() }, &[]);
    refuses(Conv { strides: [4, 4], pads: [0; 4], ..first() }, &[]);
    refuses(Conv { strides: [2, 2], kernel: [7, 7], pads: [3; 4], ..first() }, &[]);
    refuses(Conv { strides: [2, 2], kernel: [9, 9], pads: [4; 4], ..first() }, &["Q0643"]);
    refuses(Conv { channels: 2, ..first() }, &["Q0647"]);
    refuses(Conv { channels: 1, ..first() }, &[]);
    refuses(Conv { global: true, ..first() }, &["Q0648"]);
    refuses(Conv { padding: 256, ..first() }, &["Q0649"]);
}

#[test]
fn pools_of_convolutions() {
    let pool = |size: i64, stride: i64, pads: [i64; 4]| Some(([size, size], [stride, stride], pads));
    let refuses = |conv: Conv, expected: &[&str]| assert_eq!(conv.codes(), expected);
    refuses(Conv { pool: pool(2, 2, [0, 0, 0, 1]), ..CONV }, &[]);
    refuses(Conv { pool: pool(2, 2, [0; 4]), ..CONV }, &["Q0644"]);
    refuses(Conv { pool: pool(3, 2, [0, 1, 1, 1]), ..CONV }, &[]);
    refuses(Conv { pool: pool(3, 2, [1; 4]), ..CONV }, &["Q0644"]);
    refuses(Conv { pool: pool(2, 3, [0; 4]), pads: [1; 4], ..CONV }, &["Q0646"]);
    refuses(Conv { pool: pool(2, 2, [0; 4]), pads: [0; 4], ..CONV }, &["Q0645"]);
    refuses(Conv { pool: pool(2, 2, [0; 4]), pads: [1; 4], strides: [2, 2], ..CONV }, &["Q0645"]);
    refuses(Conv { pool: Some(([2, 3], [2, 2], [0; 4])), ..CONV }, &["Q0640"]);
    refuses(Conv { global: true, ..CONV }, &[]);
    refuses(Conv { global: true, depthwise: true, ..CONV }, &["Q0670"]);
    refuses(Conv { pool: pool(2, 2, [0, 0, 0, 1]), depthwise: true, ..CONV }, &["Q0670"]);
}

#[test]
fn numbers_of_convolutions() {
    assert_eq!(Conv { bias: 66 << 17, ..CONV }.codes(), [""; 0]);
    assert_eq!(Conv { bias: 66 << 18, ..CONV }.codes(), ["Q0671"]);
    assert_eq!(Conv { bias: -257, depthwise: true, ..CONV }.codes(), ["Q0671"]);
    assert_eq!(Conv { divisor: 2f32.powi(31), ..CONV }.codes(), [""; 0]);
    assert_eq!(Conv { divisor: 2f32.powi(32), ..CONV }.codes(), ["Q0673"]);
}

#[test]
fn transposed_convolutions() {
    let codes = |kernel: usize, strides: [i64; 2], pads: [i64; 4]| {
        let attrs = Attrs::new().with("strides", strides.to_vec()).with("pads", pads.to_vec());
        let operands = [
            Tensor::new(&[1, 1, 4, 4], vec![1i8; 16]),
            Tensor::new(&[1, 1, kernel, kernel], vec![1i8; kernel * kernel]),
            None,
            None,
            Tensor::new(&[1, 1, 1, 1], vec![128u8]),
            Tensor::new(&[1, 1, 1, 1], vec![1024f32]),
        ];
        codes("QuantizedConv2DTranspose", &attrs, &operands)
    };
    assert_eq!(codes(3, [2, 2], [0, 0, 1, 1]), [""; 0]);
    assert_eq!(codes(4, [2, 2], [1, 1, 1, 1]), [""; 0]);
    assert_eq!(codes(2, [2, 2], [0, 0, 0, 0]), [""; 0]);
    assert_eq!(codes(3, [2, 2], [1, 1, 1, 1]), ["Q0651"]);
    assert_eq!(codes(3, [1, 1], [0, 0, 1, 1]), ["Q0650"]);
}

#[test]
fn frames_and_permutations() {
    let frames = |frames: usize| {
        let operands = [
            Tensor::new(&[1, 1, 2, 2], vec![1i8; 4]),
            Tensor::new(&[1, frames, 1, 1], vec![1i8; frames]),
            None,
            None,
            Tensor::new(&[1, 1, 1, 1], vec![128u8]),
            Tensor::new(&[1, 1, 1, 1], vec![1024f32]),
        ];
        codes("QuantizedBufferTempConv", &Attrs::new().with("fifo_name", "f"), &operands)
    };
    assert_eq!(frames(1), ["Q0652"]);
    assert_eq!(frames(2), [""; 0]);
    assert_eq!(frames(11), ["Q0652"]);

    let permuted = |perm: &[i64]| {
        let sizes = vec![2; perm.len()];
        let count = sizes.iter().product();
        let operands = [
            Tensor::new(&sizes, vec![0.5f32; count]),
            Tensor::new(&[1], vec![0.1f32]),
            Tensor::new(&[1], vec![0i8]),
        ];
        codes("InputQuantizer", &Attrs::new().with("perm", perm.to_vec()), &operands)
    };
    assert_eq!(permuted(&[0, 1, 2, 3]), [""; 0]);
    assert_eq!(permuted(&[0, 3, 1, 2]), [""; 0]);
    assert_eq!(permuted(&[0, 1]), [""; 0]);
    assert_eq!(permuted(&[0, 1, 3, 2]), ["Q0653"]);
    assert_eq!(permuted(&[0, 1, 2, 3, 4]), ["Q0654"]);
}
