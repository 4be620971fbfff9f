//! `col2im`: maps from blocks of them, which overlap or not: what lies on one element is summed up.

use super::number::{NUMBERS, Number, for_number};
use super::{
    Arithmetic, Call, Example, Inputs, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema, Version,
};
use crate::ir::{AttrKind, Attrs, ValueId};
use crate::tensor::{Dim, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Col2Im)]
}

/// Larger sizes do not occur; the limit keeps sums far from overflow.
const MAX_SIZE: i64 = 1 << 24;

/// One axis of a map.
struct Axis {
    image: usize,
    block: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
    /// How many blocks there are along it.
    blocks: usize,
}

pub struct Col2Im;

/// The indices of all axes, the last one running fastest.
fn indices(mut at: usize, sizes: impl DoubleEndedIterator<Item = usize>) -> Vec<usize> {
    let mut indices: Vec<usize> = Vec::new();
    for size in sizes.rev() {
        indices.push(at % size.max(1));
        at /= size.max(1);
    }
    indices.reverse();
    indices
}

impl Col2Im {
    /// The axes, elements of a block, and blocks.
    fn axes(call: &Call) -> Result<(Vec<Axis>, usize, usize), OpError> {
        let count = call.ints("image_shape")?.len();
        let list = |name: &str, entries: usize, least: i64| {
            let ints = call.ints(name)?;
            let fits = ints.len() == entries && ints.iter().all(|size| (least..=MAX_SIZE).contains(size));
            call.require("C0", fits && entries > 0, || {
                format!("`{name}` has {entries} entries from {least} to {MAX_SIZE}, found {ints:?}")
            })?;
            // Within the limit.
            Ok(ints.iter().map(|&size| size as usize).collect::<Vec<usize>>())
        };
        let (image, block) = (list("image_shape", count, 1)?, list("block_shape", count, 1)?);
        let (strides, dilations) = (list("strides", count, 1)?, list("dilations", count, 1)?);
        let pads = list("pads", 2 * count, 0)?;
        let axis = |at: usize| {
            let padded = image[at] + pads[at] + pads[at + count];
            let room = padded.checked_sub(dilations[at] * (block[at] - 1) + 1);
            let room = room.ok_or_else(|| {
                call.broken("C3", format!("a block {block:?} fits into the padded map {image:?}"))
            })?;
            Ok(Axis {
                image: image[at],
                block: block[at],
                stride: strides[at],
                dilation: dilations[at],
                pad: pads[at],
                blocks: room / strides[at] + 1,
            })
        };
        let axes: Vec<Axis> = (0..count).map(axis).collect::<Result<_, OpError>>()?;
        let product = |of: fn(&Axis) -> usize| {
            let product = axes.iter().try_fold(1usize, |product, axis| product.checked_mul(of(axis)));
            product.ok_or_else(|| call.broken("C3", "sizes do not overflow"))
        };
        let (elements, blocks) = (product(|axis| axis.block)?, product(|axis| axis.blocks)?);
        Ok((axes, elements, blocks))
    }

    fn result(call: &Call) -> Result<TensorType, OpError> {
        let storage = call.same_plain("C1", &NUMBERS)?;
        let (axes, elements, blocks) = Self::axes(call)?;
        let x = &call.ty(0)?.shape;
        let [batch, columns, found] = &**x else {
            return Err(call.broken("C2", format!("x has 3 axes, found {x}")));
        };
        let columns = call.known(columns)?;
        call.require("C2", columns % elements == 0, || {
            format!("x has {elements} elements of a block for each channel, found {x}")
        })?;
        call.require("C3", call.known(found)? == blocks, || format!("x has {blocks} blocks, found {x}"))?;
        let sizes = axes.iter().map(|axis| Dim::Fixed(axis.image));
        let dims: Vec<Dim> = [batch.clone(), (columns / elements).into()].into_iter().chain(sizes).collect();
        Ok(TensorType::new(storage, dims))
    }

    fn eval_as<T: Number>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
        let (axes, elements, blocks) = Self::axes(&inputs.call)?;
        let sizes = Self::result(&inputs.call)?.shape.sizes().unwrap_or_default();
        let x = inputs.elements::<T>(0)?;
        let mut y = inputs.call.filled(&sizes, T::default())?.into_raw_vec_and_offset().0;
        let map: usize = sizes.get(2..).unwrap_or_default().iter().product();
        let columns = elements.saturating_mul(blocks);
        if x.is_empty() {
            return inputs.call.result(&sizes, y);
        }
        // Where each element of each block lies in a map; no more than x has elements.
        let place = |at: usize| {
            let offset = indices(at / blocks, axes.iter().map(|axis| axis.block));
            let block = indices(at % blocks, axes.iter().map(|axis| axis.blocks));
            let mut place = 0;
            for ((axis, offset), block) in axes.iter().zip(offset).zip(block) {
                let index = (block * axis.stride + offset * axis.dilation).checked_sub(axis.pad)?;
                place = place * axis.image + Some(index).filter(|&index| index < axis.image)?;
            }
            Some(place)
        };
        let places: Vec<Option<usize>> = (0..columns).map(place).collect();
        for (x, y) in x.chunks(columns).zip(y.chunks_mut(map)) {
            for (&x, place) in x.iter().zip(&places) {
                if let Some(y) = place.and_then(|place| y.get_mut(place)) {
                    *y = y.add(x);
                }
            }
        }
        inputs.call.result(&sizes, y)
    }
}

const LISTS: [&str; 3] = ["dilations", "pads", "strides"];

impl Operator for Col2Im {
    fn schema(&self) -> Schema {
        Schema::new(
            "col2im",
            "`y[n, c, i…]` is the sum of the `x[n, c * K + k, l]` whose place in a map is i: `i = l' * strides + k' * \
             dilations - pads` on each axis, where k' is the place of element k in a block of the `block_shape`, of K \
             elements, and l' that of block l among the L blocks that fit into the padded map; both are numbered in \
             row-major order. What falls into the padding is left out. For x `[N, C * K, L]` and the sizes `image_shape` \
             y is `[N, C, image_shape…]`; `pads` are those at the beginning of each axis, then those at the ends. The \
             sum starts with 0 and goes in the order of k; floats are rounded once a step, integers wrap.\n\n\
             * C0: the lists have sizes up to 2^24 for each axis of a map, from 0 for `pads`, else from 1.\n\
             * C1: x is plain, a float or an integer.\n\
             * C2: x has 3 axes, and K divides the second one.\n\
             * C3: a block fits into the padded map, as many as x has, and the sizes do not overflow.",
        )
        .operand("x")
        .required_attr("image_shape", AttrKind::Ints)
        .required_attr("block_shape", AttrKind::Ints)
        .required_attr("strides", AttrKind::Ints)
        .required_attr("pads", AttrKind::Ints)
        .required_attr("dilations", AttrKind::Ints)
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![Self::result(call)?])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        for_number!(inputs.call, inputs.get(0)?.dtype(), T => Self::eval_as::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("a sum runs on the device only inside a layer")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        let mut inputs = cx.operand_names.to_vec();
        for attr in ["image_shape", "block_shape"] {
            let sizes = Tensor::vector(cx.call.ints(attr)?.to_vec());
            inputs.push(cx.initializer(attr, sizes));
        }
        let mut node = cx.node("Col2Im", inputs);
        for attr in LISTS {
            node = node.attr(attr, OnnxAttr::Ints(cx.call.ints(attr)?.to_vec()));
        }
        Ok(Lowered::Nodes(vec![node]))
    }

    fn lifts(&self) -> Vec<Lift> {
        fn lift(cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
            let x = cx.operand(0)?;
            let mut attrs = Attrs::new();
            let mut axes = 0;
            for (position, name) in [(1, "image_shape"), (2, "block_shape")] {
                let sizes = cx.constant_ints(position, name)?;
                let sizes = sizes.ok_or_else(|| cx.invalid(format!("needs `{name}`")))?;
                axes = sizes.len();
                attrs.set(name, sizes);
            }
            for name in LISTS {
                let default = if name == "pads" { vec![0; 2 * axes] } else { vec![1; axes] };
                attrs.set(name, cx.opt_ints(name)?.map_or(default, <[i64]>::to_vec));
            }
            Ok(vec![cx.op("col2im", attrs, &[x])?])
        }
        vec![Lift::standard("Col2Im", [Version::new(18, 3, &LISTS)], lift)]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let ramp = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Tensor::new(sizes, (0..count).map(|i| (i * 5 % 11) as f32 - 4.0).collect())
        };
        let attrs = |image: [i64; 2], block: [i64; 2], pads: [i64; 4]| {
            let attrs = Attrs::new().with("image_shape", image.to_vec()).with("block_shape", block.to_vec());
            attrs.with("strides", vec![1, 1]).with("dilations", vec![1, 1]).with("pads", pads.to_vec())
        };
        vec![
            Example { attrs: attrs([3, 3], [2, 2], [0; 4]), operands: vec![ramp(&[1, 8, 4])] },
            Example { attrs: attrs([2, 3], [1, 2], [0, 1, 0, 0]), operands: vec![ramp(&[2, 2, 6])] },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn attrs(image: &[i64], block: &[i64], strides: &[i64], pads: &[i64], dilations: &[i64]) -> Attrs {
        let attrs = Attrs::new().with("image_shape", image).with("block_shape", block);
        attrs.with("strides", strides).with("pads", pads).with("dilations", dilations)
    }

    #[test]
    fn constraints() {
        let whole = |block: &[i64]| attrs(&[3, 3], block, &[1, 1], &[0; 4], &[1, 1]);
        let wide = |size: i64| attrs(&[size, size, size], &[1; 3], &[1; 3], &[0; 6], &[1; 3]);
        check_labels(
            "col2im",
            &[
                ("C0", whole(&[2]), &["f32[N, 4, 4]"]),
                ("C0", whole(&[2, 0]), &["f32[N, 4, 4]"]),
                ("C0", attrs(&[3, 3], &[2, 2], &[1, 0], &[0; 4], &[1, 1]), &["f32[N, 4, 4]"]),
                ("C0", attrs(&[3, 3], &[2, 2], &[1, 1], &[0; 2], &[1, 1]), &["f32[N, 4, 4]"]),
                ("C0", attrs(&[3, 3], &[2, 2], &[1, 1], &[0; 4], &[i64::MAX, 1]), &["f32[N, 4, 4]"]),
                ("C0", attrs(&[], &[], &[], &[], &[]), &["f32[N, 4, 4]"]),
                ("C1", whole(&[2, 2]), &["bool[N, 4, 4]"]),
                ("C2", whole(&[2, 2]), &["f32[N, 4]"]),
                ("C2", whole(&[2, 2]), &["f32[N, 6, 4]"]),
                ("C3", whole(&[2, 2]), &["f32[N, 4, 5]"]),
                ("C3", whole(&[4, 2]), &["f32[N, 8, 1]"]),
                ("C3", wide(1 << 24), &["f32[N, 1, 1]"]),
            ],
        );
        assert_eq!(shape("col2im", whole(&[2, 2]), &["i8[N, 8, 4]"]), "i8[N, 2, 3, 3]");
        assert_unknown_size(infer("col2im", whole(&[2, 2]), &[ty("f32[1, C, 4]")]));
        assert_unknown_size(infer("col2im", whole(&[2, 2]), &[ty("f32[1, 4, L]")]));
    }

    #[test]
    fn by_hand() {
        let both = |attrs: Attrs, x: Tensor| {
            let y = eval("col2im", attrs.clone(), std::slice::from_ref(&x)).unwrap();
            assert_eq!(read_back("col2im", attrs, &[x]), y);
            y
        };
        // As many blocks as lie on each element.
        let ones = tensor(&[1, 4, 4], vec![1i32; 16]);
        let overlapping = both(attrs(&[3, 3], &[2, 2], &[1, 1], &[0; 4], &[1, 1]), ones.clone());
        assert_eq!(overlapping, tensor(&[1, 1, 3, 3], [1i32, 2, 1, 2, 4, 2, 1, 2, 1]));
        // Side by side: blocks of 4 columns.
        let x = tensor(&[1, 4, 1], [1.0f32, 2.0, 3.0, 4.0]);
        let one = attrs(&[2, 2], &[2, 2], &[2, 2], &[0; 4], &[1, 1]);
        assert_eq!(both(one, x.clone()), tensor(&[1, 1, 2, 2], [1.0f32, 2.0, 3.0, 4.0]));
        // Apart, and partly in the padding.
        let apart = attrs(&[3, 3], &[2, 2], &[1, 1], &[0; 4], &[2, 2]);
        let corners = [1.0f32, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0];
        assert_eq!(both(apart, x.clone()), tensor(&[1, 1, 3, 3], corners));
        let padded = attrs(&[1, 1], &[2, 2], &[1, 1], &[1, 0, 0, 1], &[1, 1]);
        assert_eq!(both(padded, x), tensor(&[1, 1, 1, 1], [3.0f32]));
        let cubes = attrs(&[2, 1, 2], &[1, 1, 2], &[1, 1, 1], &[0; 6], &[1, 1, 1]);
        let y = both(cubes, tensor(&[1, 2, 2], [1u8, 2, 3, 4]));
        assert_eq!(y, tensor(&[1, 1, 2, 1, 2], [1u8, 3, 2, 4]));
        let none = attrs(&[3, 3], &[2, 2], &[1, 1], &[0; 4], &[1, 1]);
        assert_eq!(both(none, tensor::<f32>(&[0, 4, 4], [])), tensor::<f32>(&[0, 1, 3, 3], []));
    }
}
