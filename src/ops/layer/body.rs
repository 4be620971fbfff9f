//! What the bodies of layers have beside the operators: their activation, and how they are rescaled.

use super::op_type::Activation;
use crate::ops::body::{Body, RESCALABLE};
use crate::ops::bound::fits_i32;
use crate::ops::{Bound, OpError};
use crate::tensor::DType;
use crate::tensor::round::TABLE_BITS;

/// # Errors
/// Some accumulator may pass 32 bits, which the device does not have, or the sum of a pool what
/// float64 rescales exactly.
pub fn check(op_type: &str, bound: Bound) -> Result<(), OpError> {
    let fail = |what: String| Err(OpError::Unsupported { op: op_type.to_owned(), what, way_out: None });
    if !fits_i32(bound.accumulator) {
        return fail(format!("an accumulator of up to {}, beyond 32 bits,", bound.accumulator));
    }
    if bound.pooled > RESCALABLE {
        return fail(format!("a pool that sums up to {}", bound.pooled));
    }
    Ok(())
}

impl Body {
    /// The activation of `x`, which is stored as `storage`.
    pub fn activated(&mut self, x: String, activation: Activation, storage: DType) -> String {
        match activation {
            Activation::None | Activation::Lut => x,
            Activation::Relu => self.op("Relu", &[&x]),
            Activation::ReluClipped => {
                let positive = self.op("Relu", &[&x]);
                let ceiling = self.cast("max_value", storage);
                self.op("Min", &[&positive, &ceiling])
            }
        }
    }

    /// Multiplier over divisor, exact in float64.
    pub fn ratio(&mut self, multiplier: &str, divisor: &str) -> String {
        let multiplier = self.cast(multiplier, DType::F64);
        let divisor = self.cast(divisor, DType::F64);
        self.op("Div", &[&multiplier, &divisor])
    }

    /// The entries of the table for `x`, which is float64; they are int32.
    pub fn looked_up(&mut self, x: &str) -> String {
        let ratio = self.ratio("ActScale", "ActShift");
        let product = self.op("Mul", &[x, &ratio]);
        let half = 1i128 << (TABLE_BITS - 1);
        let index = self.half_up_within(&product, (-half, half - 1), DType::I32);
        // A negative index counts from the end.
        self.op("Gather", &["LUT_values", &index])
    }
}
