//! `det`: determinants of matrices.

use super::number::Real;
use super::{
    Arithmetic, Call, Example, FLOATS, Inputs, Lift, LowerCx, Lowered, OpError, Operator, Quantize, Schema,
    Version, for_float,
};
use crate::ir::Attrs;
use crate::tensor::{Shape, Tensor, TensorType};

pub fn operators() -> Vec<Box<dyn Operator>> {
    vec![Box::new(Det)]
}

pub struct Det;

/// The determinant of a matrix of `size` rows, by elimination: the row with the largest element of a column is the
/// next one.
fn determinant<T: Real>(mut a: Vec<T>, size: usize) -> T {
    let magnitude = |v: T| if v < T::default() { -v } else { v };
    let mut det = T::from(1.0);
    for column in 0..size {
        let mut pivot = column;
        for row in column + 1..size {
            if magnitude(a[row * size + column]) > magnitude(a[pivot * size + column]) {
                pivot = row;
            }
        }
        if pivot != column {
            (0..size).for_each(|at| a.swap(pivot * size + at, column * size + at));
            det = -det;
        }
        let first = a[column * size + column];
        det = det * first;
        if first == T::default() {
            return det;
        }
        for row in column + 1..size {
            let factor = a[row * size + column] / first;
            for at in column + 1..size {
                a[row * size + at] = T::fma(-factor, a[column * size + at], a[row * size + at]);
            }
        }
    }
    det
}

impl Det {
    fn batch(call: &Call) -> Result<Shape, OpError> {
        let x = &call.ty(0)?.shape;
        match &**x {
            [batch @ .., rows, columns] if rows == columns => Ok(Shape::new(batch.iter().cloned())),
            _ => Err(call.broken("C2", format!("x has square matrices on its last two axes, found {x}"))),
        }
    }
}

impl Operator for Det {
    fn schema(&self) -> Schema {
        Schema::new(
            "det",
            "`y[…]` is the determinant of the matrix `x[…, i, j]`: the product of what elimination leaves on the \
             diagonal, with the largest element of each column first, `fma` and one rounding a step; 1 for a matrix \
             without elements.\n\n\
             * C1: x is plain f32 or f64.\n\
             * C2: x has at least two axes, and the last two are equal.",
        )
        .operand("x")
        .rounding()
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let storage = call.same_plain("C1", FLOATS)?;
        Ok(vec![TensorType::new(storage, Self::batch(call)?)])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        fn go<T: Real>(inputs: &Inputs) -> Result<Vec<Tensor>, OpError> {
            let sizes = Det::batch(&inputs.call)?.sizes().unwrap_or_default();
            let size = inputs.get(0)?.sizes().last().copied().unwrap_or_default();
            let x = inputs.elements::<T>(0)?;
            let mut y = inputs.call.filled(&sizes, T::from(1.0))?.into_raw_vec_and_offset().0;
            if size > 0 {
                for (y, matrix) in y.iter_mut().zip(x.chunks(size * size)) {
                    *y = determinant(matrix.to_vec(), size).canonical();
                }
            }
            inputs.call.result(&sizes, y)
        }
        for_float!(inputs.call, inputs.get(0)?.dtype(), T => go::<T>(inputs))
    }

    fn quantize(&self) -> Quantize {
        Quantize::No("the device has no determinants")
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        Ok(Lowered::Nodes(vec![cx.node("Det", cx.operand_names.to_vec())]))
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![Lift::standard("Det", [Version::new(11, 1, &[])], |cx| {
            let x = cx.operand(0)?;
            Ok(vec![cx.op("det", Attrs::new(), &[x])?])
        })]
    }

    fn macs(&self, _: &Call) -> u64 {
        0
    }

    fn examples(&self) -> Vec<Example> {
        let x = Tensor::new(&[2, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0, 0.0, 2.0, 0.5, -1.0]);
        vec![Example { attrs: Attrs::new(), operands: vec![x] }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn by_hand() {
        check_labels(
            "det",
            &[
                ("C1", Attrs::new(), &["i32[2, 2]"]),
                ("C2", Attrs::new(), &["f32[2]"]),
                ("C2", Attrs::new(), &["f32[2, 3]"]),
                ("C2", Attrs::new(), &["f32[M, N]"]),
            ],
        );
        assert_eq!(shape("det", Attrs::new(), &["f32[N, 3, M, M]"]), "f32[N, 3]");
        let det = |x: Tensor| {
            let y = eval("det", Attrs::new(), std::slice::from_ref(&x)).unwrap();
            assert_eq!(read_back("det", Attrs::new(), &[x]), y);
            y
        };
        assert_eq!(det(tensor(&[2, 2], [0.0f32, 2.0, 0.5, -1.0])), Tensor::scalar(-1.0f32));
        let three = [2.0f64, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 5.0, 1.0];
        let both = [three, [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 5.0, 6.0]].as_flattened().to_vec();
        assert_eq!(det(tensor(&[2, 3, 3], both)), tensor(&[2], [-30.0f64, 0.0]));
        assert_eq!(det(tensor::<f32>(&[2, 0, 0], [])), tensor(&[2], [1.0f32, 1.0]));
        assert_eq!(det(tensor::<f32>(&[0, 3, 3], [])), tensor::<f32>(&[0], []));
        let nan = eval("det", Attrs::new(), &[tensor(&[2, 2], [f32::NAN, 2.0, 0.5, -1.0])]).unwrap();
        assert!(nan.elements::<f32>().unwrap()[0].is_nan());
    }
}
