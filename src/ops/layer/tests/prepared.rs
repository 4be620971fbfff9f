//! Layers made ready give what their evaluation gives, and are made ready wherever that pays.

use proptest::prelude::*;

use super::prepared;
use crate::ir::Attrs;
use crate::ops::testing::tensor;
use crate::ops::{Arithmetic, Registry};
use crate::tensor::Tensor;

/// What of the weights is 0: nothing, all but each filter's own channel, or the outer taps.
#[derive(Clone, Copy, Debug)]
enum Zeros {
    None,
    Foreign,
    Outer,
}

#[derive(Clone, Debug)]
struct Case {
    depthwise: bool,
    unsigned: bool,
    x: [usize; 4],
    filters: usize,
    kernel: [usize; 2],
    zeros: Zeros,
    attrs: Attrs,
    exponent: i32,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let x = [1..3usize, 1..40usize, 3..9usize, 3..9usize];
    let zeros = prop_oneof![Just(Zeros::None), Just(Zeros::Foreign), Just(Zeros::Outer)];
    let pool = prop_oneof![Just("none"), Just("MaxPool"), Just("GlobalAvgPool")];
    let activation = prop_oneof![Just("none"), Just("ReLU"), Just("ReLUClipped"), Just("LUT")];
    let window = ([1..4usize, 1..4usize], [1..3i64, 1..3i64], [0..3i64, 0..3i64, 0..3i64, 0..3i64]);
    let rest = (pool, activation, 4..16i32, any::<u64>());
    (any::<[bool; 2]>(), x, 1..40usize, zeros, window, rest).prop_map(
        |(
            [depthwise, unsigned],
            x,
            filters,
            zeros,
            (kernel, strides, pads),
            (pool, activation, exponent, seed),
        )| {
            let mut attrs = Attrs::new()
                .with("strides", strides.to_vec())
                .with("pads", pads.to_vec())
                .with("pool", pool)
                .with("activation", activation);
            if pool == "MaxPool" {
                attrs = attrs
                    .with("pool_size", vec![2, 2])
                    .with("pool_strides", vec![1, 2])
                    .with("pool_pads", vec![1, 0, 0, 1]);
            }
            let filters = if depthwise || matches!(zeros, Zeros::Foreign) { x[1] } else { filters };
            Case {
                depthwise,
                unsigned: unsigned && !depthwise,
                x,
                filters,
                kernel,
                zeros,
                attrs,
                exponent,
                seed,
            }
        },
    )
}

impl Case {
    fn operands(&self) -> Vec<Option<Tensor>> {
        let mut state = self.seed;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 33) as u32
        };
        let (filters, [rows, columns]) = (self.filters, self.kernel);
        let depth = if self.depthwise { 1 } else { self.x[1] };
        let x: Vec<u8> = (0..self.x.iter().product()).map(|_| next() as u8).collect();
        let w: Vec<i8> = (0..filters * depth * rows * columns)
            .map(|i| {
                let (filter, channel) = (i / (depth * rows * columns), i / (rows * columns) % depth);
                let (row, column) = (i / columns % rows, i % columns);
                let zero = match self.zeros {
                    Zeros::None => false,
                    Zeros::Foreign => depth > 1 && filter != channel,
                    Zeros::Outer => row == 0 || column + 1 == columns,
                };
                if zero { 0 } else { next() as i8 }
            })
            .collect();
        let each = [1, filters, 1, 1];
        let powers = |next: &mut dyn FnMut() -> u32| -> Vec<f32> {
            (0..filters).map(|_| 2f32.powi(self.exponent + (next() % 4) as i32)).collect()
        };
        let lut = self.attrs.get_str("activation") == Some("LUT");
        let clipped = self.attrs.get_str("activation") == Some("ReLUClipped");
        vec![
            Some(if self.unsigned {
                tensor(&self.x, x)
            } else {
                tensor(&self.x, x.into_iter().map(|v| v as i8).collect::<Vec<_>>())
            }),
            Some(tensor(&[filters, depth, rows, columns], w)),
            Some(tensor(&[filters], (0..filters).map(|_| next() as i32 >> 18).collect::<Vec<_>>())),
            self.unsigned.then(|| {
                tensor(&[self.x[1]], (0..self.x[1]).map(|_| (next() % 256) as i32).collect::<Vec<_>>())
            }),
            clipped
                .then(|| tensor(&each, (0..filters).map(|_| (next() % 100_000) as i32).collect::<Vec<_>>())),
            Some(tensor(&each, (0..filters).map(|_| next() as u8).collect::<Vec<_>>())),
            Some(tensor(&each, powers(&mut next))),
            lut.then(|| tensor(&each, (0..filters).map(|_| next() as u8).collect::<Vec<_>>())),
            lut.then(|| tensor(&each, powers(&mut next))),
            lut.then(|| tensor(&[2048], (0..2048).map(|_| next() as i32 % 8192).collect::<Vec<_>>())),
        ]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn convolutions(case in cases()) {
        let registry = Registry::built_in();
        let op = if case.depthwise { "QuantizedDepthwise2D" } else { "QuantizedConv2D" };
        let (attrs, operands) = (registry.complete(op, case.attrs.clone()).unwrap(), case.operands());
        let expected = registry.eval(op, &attrs, &operands, Arithmetic::Exact);
        // Kernels and pools need not fit.
        prop_assume!(expected.is_ok());
        let found = prepared(&registry, op, &attrs, &operands, Arithmetic::Exact);
        let pool = attrs.get_str("pool") == Some("MaxPool");
        // A pool before a table is left to the evaluation, as are windows of a pool that are all padding.
        prop_assert!(found.is_some() || pool);
        if let Some(found) = found {
            prop_assert_eq!(expected.unwrap().remove(0), found);
        }
    }

    #[test]
    fn transposed_convolutions(case in cases(), cut in [0..3i64, 0..3i64, 0..3i64, 0..3i64]) {
        let registry = Registry::built_in();
        let op = if case.depthwise { "QuantizedDepthwise2DTranspose" } else { "QuantizedConv2DTranspose" };
        let mut attrs = Attrs::new().with("pads", cut.to_vec());
        for name in ["strides", "activation"] {
            attrs.set(name, case.attrs.get(name).unwrap().clone());
        }
        let attrs = registry.complete(op, attrs).unwrap();
        let case = Case { unsigned: false, ..case };
        let mut operands = case.operands();
        // Without padding values, and with the channels of the kernel first.
        operands.remove(3);
        let w = operands[1].as_ref().unwrap();
        let (depth, [rows, columns]) = (w.sizes()[1], case.kernel);
        let sizes = if case.depthwise { [case.filters, 1, rows, columns] } else { [depth, case.filters, rows, columns] };
        operands[1] = Some(tensor(&sizes, w.elements::<i8>().unwrap().to_vec()));
        let expected = registry.eval(op, &attrs, &operands, Arithmetic::Exact);
        prop_assume!(expected.is_ok());
        let within = (0..4).all(|side| (cut[side] as usize) < case.kernel[side % 2]);
        let found = prepared(&registry, op, &attrs, &operands, Arithmetic::Exact);
        prop_assert_eq!(found.is_some(), within);
        if let Some(found) = found {
            prop_assert_eq!(expected.unwrap().remove(0), found);
        }
    }
}
