//! Layers by hand: what the numbers of hardware-ops say for small cases.

mod constraints;
mod device;
mod files;
mod forms;
mod parameters;
mod prepared;
mod table;
mod transpose;

use crate::ir::{Attrs, Range};
use crate::kernels::image::Buffers;
use crate::ops::{
    Arithmetic, Call, Held, Inputs, LayerCall, LayerOperand, OpError, Quantize, QuantizedLayer, Registry,
};
use crate::tensor::{AffineGrid, Tensor, TensorType};

/// Every operator of this directory.
const LAYERS: [&str; 11] = [
    "InputQuantizer",
    "QuantizedConv2D",
    "QuantizedDepthwise2D",
    "QuantizedConv2DTranspose",
    "QuantizedDepthwise2DTranspose",
    "QuantizedDense1D",
    "QuantizedAdd",
    "QuantizedConcat",
    "QuantizedBufferTempConv",
    "QuantizedDepthwiseBufferTempConv",
    "Dequantizer",
];

/// The only result of an application. Where the operator can be made ready, that form gives the same.
fn run(op: &str, attrs: &Attrs, operands: &[Option<Tensor>], how: Arithmetic) -> Result<Tensor, OpError> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs.clone())?;
    let result = registry.eval(op, &attrs, operands, how)?.remove(0);
    if let Some(found) = prepared(&registry, op, &attrs, operands, how) {
        assert_eq!(result, found, "made ready");
    }
    Ok(result)
}

/// The result of the application made ready, if it can be.
fn prepared(
    registry: &Registry,
    op: &str,
    attrs: &Attrs,
    operands: &[Option<Tensor>],
    how: Arithmetic,
) -> Option<Tensor> {
    let entry = registry.get(op).unwrap();
    let inputs = if matches!(op, "QuantizedAdd" | "QuantizedConcat") { 2 } else { 1 };
    let types: Vec<Option<TensorType>> =
        operands.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
    let constants: Vec<Option<Tensor>> =
        operands.iter().enumerate().map(|(at, tensor)| tensor.clone().filter(|_| at >= inputs)).collect();
    let call = Call { schema: &entry.schema, attrs, operands: &types };
    let prepared = entry.operator.prepare(&Inputs { call, tensors: &constants }, how)?;
    let held: Vec<Option<Held>> =
        operands.iter().take(inputs).map(|tensor| tensor.clone().map(Held::Tensor)).collect();
    let held: Vec<Option<&Held>> = held.iter().map(Option::as_ref).collect();
    let results = prepared.run(&held, &mut Buffers::default())?;
    results[0].tensor().map(|tensor| tensor.into_owned())
}

fn exact(op: &str, attrs: &Attrs, operands: &[Option<Tensor>]) -> Tensor {
    run(op, attrs, operands, Arithmetic::Exact).unwrap()
}

/// The integer form of a layer in float form. Operands without a grid are constants.
struct Case<'a> {
    op: &'a str,
    attrs: Attrs,
    operands: Vec<Option<Tensor>>,
    grids: Vec<Option<AffineGrid>>,
    range: (&'a [f32], &'a [f32]),
    feeds_add: bool,
    scaled: bool,
}

impl Case<'_> {
    fn quantize(&self) -> Result<QuantizedLayer, OpError> {
        let registry = Registry::built_in();
        let attrs = registry.complete(self.op, self.attrs.clone()).unwrap();
        let entry = registry.get(self.op).unwrap();
        let types: Vec<Option<TensorType>> =
            self.operands.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
        registry.infer(self.op, &attrs, &types).unwrap();
        let grid = |i: usize| self.grids.get(i).and_then(Option::as_ref);
        let constants: Vec<Option<&Tensor>> =
            self.operands.iter().enumerate().map(|(i, t)| t.as_ref().filter(|_| grid(i).is_none())).collect();
        let grids: Vec<Option<&AffineGrid>> = (0..self.operands.len()).map(grid).collect();
        let range = Range { lowest: self.range.0.into(), highest: self.range.1.into() };
        let Quantize::Layer(layer) = entry.operator.quantize() else { panic!("{} is no layer", self.op) };
        layer.quantize(&LayerCall {
            call: Call { schema: &entry.schema, attrs: &attrs, operands: &types },
            constants: &constants,
            grids: &grids,
            range: Some(&range),
            feeds_add: self.feeds_add,
            scaled: self.scaled,
        })
    }
}

/// The constant called `suffix`.
fn constant<'a>(layer: &'a QuantizedLayer, suffix: &str) -> &'a Tensor {
    let found = layer.operands.iter().find_map(|operand| match operand {
        LayerOperand::Constant { suffix: name, tensor } if *name == suffix => Some(tensor),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no constant {suffix}"))
}
