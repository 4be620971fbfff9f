//! `upsample2d`: every element of a map several times.

use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LowerCx, Lowered, OnnxAttr, OpError, Operator, Quantize,
    Schema,
};
use crate::ir::{AttrKind, Attrs};
use crate::tensor::{Array, Element, Tensor, TensorType, dispatch};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Upsample2d)]
}

pub struct Upsample2d;

impl Upsample2d {
    /// Rows and columns of the result, and the factors.
    fn size(call: &Call) -> Result<([usize; 2], [usize; 2]), OpError> {
        let shape = &call.ty(0)?.shape;
        let [_, _, rows, columns] = &shape[..] else {
            return Err(call.broken("C2", format!("x has 4 axes, found {shape}")));
        };
        let factors: [usize; 2] = call.sizes("factors", 1)?;
        let size = [call.known(rows)?, call.known(columns)?];
        let times = |axis: usize| size[axis].checked_mul(factors[axis]);
        let (Some(rows), Some(columns)) = (times(0), times(1)) else {
            return Err(call.broken("C3", format!("sizes of {shape} times {factors:?}")));
        };
        Ok(([rows, columns], factors))
    }
}

impl Operator for Upsample2d {
    fn schema(&self) -> Schema {
        Schema::new(
            "upsample2d",
            "`y[n, c, i, j] = x[n, c, i / factors[0], j / factors[1]]`, quotients rounded down.\n\n\
             * C0: `factors` is 2 sizes from 1.\n\
             * C1: x is plain f32 or f64.\n\
             * C2: x has 4 axes.\n\
             * C3: the sizes of y do not overflow.",
        )
        .operand("x")
        .required_attr("factors", AttrKind::Ints)
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let x = call.ty(0)?;
        call.same_plain("C1", FLOATS)?;
        let ([rows, columns], _) = Self::size(call)?;
        let shape = vec![x.shape[0].clone(), x.shape[1].clone(), rows.into(), columns.into()];
        Ok(vec![TensorType::new(x.storage(), shape)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Element>(
            call: &Call,
            x: &Array<T>,
            sizes: &[usize],
            [down, across]: [usize; 2],
        ) -> Result<Tensor, OpError> {
            let mut y = call.filled(sizes, T::default())?;
            for (at, y) in y.indexed_iter_mut() {
                // The quotients are within x.
                let from = [at[0], at[1], at[2] / down, at[3] / across];
                *y = x.get(&from[..]).copied().unwrap_or_default();
            }
            Ok(T::wrap(y.into_shared()))
        }
        let call = &inputs.call;
        let x = inputs.get(0)?;
        let ([rows, columns], factors) = Self::size(call)?;
        let sizes = [&x.sizes()[..2], &[rows, columns]].concat();
        Ok(vec![dispatch!(x, array => go(call, array, &sizes, factors))?])
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device doubles a map by a transposed convolution, and has no other factors")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        // Sizes of 24 bits are exact in f32.
        let factors: Vec<f32> = cx.call.ints("factors")?.iter().map(|&factor| factor as f32).collect();
        let scales = [&[1.0, 1.0], &factors[..]].concat();
        let scales = cx.initializer("scales", Tensor::vector(scales));
        let x = cx.operand_names.first().cloned().unwrap_or_default();
        let text = |text: &str| OnnxAttr::Str(text.to_owned());
        let node = cx.node("Resize", vec![x, String::new(), scales]);
        let node = node.attr("mode", text("nearest")).attr("nearest_mode", text("floor"));
        Ok(Lowered::Nodes(vec![node.attr("coordinate_transformation_mode", text("asymmetric"))]))
    }

    fn lifts(&self) -> Vec<Lift> {
        // `resize` makes one of each Resize that repeats elements.
        Vec::new()
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        vec![Example { attrs: Attrs::new().with("factors", vec![2, 3]), operands: vec![x] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn factors(down: i64, across: i64) -> Attrs {
        Attrs::new().with("factors", vec![down, across])
    }

    #[test]
    fn constraints() {
        assert_eq!(shape("upsample2d", factors(2, 3), &["f32[N, C, 4, 5]"]), "f32[N, C, 8, 15]");
        check_labels(
            "upsample2d",
            &[
                ("C0", factors(0, 1), &["f32[1, 1, 2, 2]"]),
                ("C1", factors(2, 2), &["i8[1, 1, 2, 2]"]),
                ("C2", factors(2, 2), &["f32[1, 2, 2]"]),
                ("C3", factors(1 << 24, 1), &["f32[1, 1, 4611686018427387904, 2]"]),
            ],
        );
        assert_unknown_size(infer("upsample2d", factors(2, 2), &[ty("f32[1, 1, H, 2]")]));
    }

    #[test]
    fn by_hand_and_read_back() {
        let x = tensor(&[1, 1, 2, 2], [1.0f32, 2.0, 3.0, 4.0]);
        let y = Ok(tensor(&[1, 1, 2, 6], [1.0f32, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 4.0, 4.0]));
        assert_eq!(eval("upsample2d", factors(1, 3), std::slice::from_ref(&x)), y);
        assert_eq!(Ok(read_back("upsample2d", factors(1, 3), &[x])), y);
    }
}
