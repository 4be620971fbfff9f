//! What the bodies of layers have beside the operators: their activation, and how they are rescaled.

use super::op_type::Activation;
use crate::ops::body::{Body, RESCALABLE};
use crate::ops::bound::fits_i32;
use crate::ops::{Bound, OpError};
use crate::tensor::DType;

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

    /// `Scale / Shift`, exact in float64.
    pub fn ratio(&mut self) -> String {
        let multiplier = self.cast("Scale", DType::F64);
        let divisor = self.cast("Shift", DType::F64);
        self.op("Div", &[&multiplier, &divisor])
    }
}
