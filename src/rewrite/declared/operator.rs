//! The faces of a declared layer.

use std::sync::Arc;

use super::form::{Unrolled, number, unroll};
use super::{Declared, onnx, parameters};
use crate::ir::Attr;
use crate::ops::layer::{Step, eval, standard};
use crate::ops::{
    Accuracy, Arithmetic, Call, DeviceLayer, Example, Inputs, LayerCall, Lift, LowerCx, Lowered, OpError,
    OperandSpec, Operator, Presence, Quantize, QuantizedLayer, Schema,
};
use crate::rewrite::expr::Data;
use crate::tensor::{Tensor, TensorType};

/// A declaration as an operator.
#[derive(Clone)]
pub struct DeclaredLayer(pub Arc<Declared>);

impl Declared {
    /// By the storage of the first operand.
    pub fn is_float(call: &Call) -> Result<bool, OpError> {
        Ok(call.ty(0)?.storage().is_float())
    }

    pub fn form(&self, call: &Call) -> Result<Unrolled, OpError> {
        unroll(if Self::is_float(call)? { &self.float } else { &self.integer }, call)
    }

    /// The type of the float form's result.
    pub fn infer_float(&self, call: &Call) -> Result<TensorType, OpError> {
        let absent = |position: usize| call.opt_ty(position).is_none();
        for (at, (name, optional)) in self.constants.iter().enumerate() {
            if !optional && absent(self.inputs.len() + at) {
                return Err(OpError::MissingOperand { op: call.op(), operand: name.to_string() });
            }
        }
        for (at, param) in self.params.iter().enumerate() {
            if !absent(self.first_param() + at) {
                return Err(call
                    .unsupported(format!("`{}`, an operand of the integer form, among floats", param.name)));
            }
        }
        Self::result(unroll(&self.float, call)?, call)
    }

    /// The type of the integer form's result, without a grid.
    pub fn infer_integer(&self, call: &Call) -> Result<TensorType, OpError> {
        let params = self.params.iter().map(|param| (&param.name, param.storage));
        let inputs = self.inputs.iter().map(|(name, storage)| (name, *storage));
        let positions = (0..).zip(inputs).chain((self.first_param()..).zip(params));
        for (position, (name, storage)) in positions {
            let Some(ty) = call.opt_ty(position) else {
                return Err(OpError::MissingOperand { op: call.op(), operand: name.to_string() });
            };
            if ty.storage() != storage {
                let found = ty.storage();
                let what = format!("`{name}` stored as {found} in the integer form, where it is {storage},");
                return Err(call.unsupported(what));
            }
        }
        for (at, (name, _)) in self.constants.iter().enumerate() {
            if call.opt_ty(self.inputs.len() + at).is_some() {
                return Err(
                    call.unsupported(format!("`{name}`, an operand of the float form, among integers"))
                );
            }
        }
        let ty = Self::result(unroll(&self.integer, call)?, call)?;
        if ty.storage() != self.computation.storage {
            let (found, stated) = (ty.storage(), self.computation.storage);
            return Err(
                call.unsupported(format!("an integer form that gives {found} where `params` says {stated}"))
            );
        }
        Ok(ty)
    }

    fn result(unrolled: Unrolled, call: &Call) -> Result<TensorType, OpError> {
        unrolled.types.into_iter().next_back().ok_or_else(|| call.unsupported("a body that computes nothing"))
    }
}

impl DeviceLayer for DeclaredLayer {
    fn chain(&self, call: &Call) -> Result<Vec<Step>, OpError> {
        Ok(unroll(&self.0.float, call)?.steps)
    }

    fn quantize(&self, layer: &LayerCall) -> Result<QuantizedLayer, OpError> {
        parameters::quantize(&self.0, layer).map_err(|why| why.error)
    }
}

impl Operator for DeclaredLayer {
    fn schema(&self) -> Schema {
        let declared = &self.0;
        let operand = |name: &Arc<str>, presence| OperandSpec { name: name.to_string().into(), presence };
        let inputs = declared.inputs.iter().map(|(name, _)| operand(name, Presence::Required));
        let constants = declared.constants.iter().map(|(name, _)| operand(name, Presence::Optional));
        let params = declared.params.iter().map(|param| operand(&param.name, Presence::Optional));
        Schema {
            name: declared.name.to_string().into(),
            doc: declared.doc.clone().into(),
            operands: inputs.chain(constants).chain(params).collect(),
            attrs: declared.attrs.clone(),
            results: vec!["y".into()],
            any_results: false,
            state: None,
            divisor: None,
            uniform: false,
            accuracy: Accuracy::Rounding,
            layer: true,
            layers: declared.layers,
            declared_in: Some(declared.file.clone()),
            assigns_grid: true,
        }
    }

    fn infer(&self, call: &Call) -> Result<Vec<TensorType>, OpError> {
        let float = Declared::is_float(call)?;
        Ok(vec![if float { self.0.infer_float(call) } else { self.0.infer_integer(call) }?])
    }

    fn eval(&self, inputs: &Inputs, _: Arithmetic) -> Result<Vec<Tensor>, OpError> {
        eval(&self.0.form(&inputs.call)?.steps, inputs)
    }

    fn quantize(&self) -> Quantize {
        Quantize::Layer(Box::new(self.clone()))
    }

    fn lower(&self, cx: &mut LowerCx) -> Result<Lowered, OpError> {
        onnx::lower(&self.0, cx)
    }

    fn lifts(&self) -> Vec<Lift> {
        vec![onnx::lift(&self.0)]
    }

    fn macs(&self, call: &Call) -> u64 {
        if let Some((section, expr)) = &self.0.macs
            && let Some(Data::Attr(Attr::Int(macs))) = number(section, expr, call)
        {
            return u64::try_from(macs).unwrap_or(0);
        }
        let Ok(Unrolled { steps, types }) = self.0.form(call) else { return 0 };
        steps
            .iter()
            .map(|step| {
                let Some(entry) = standard().find(&step.op) else { return 0 };
                let operands = step.gather(call.operands, &types, |tensor| tensor.tensor_type());
                entry.operator.macs(&Call { schema: &entry.schema, attrs: &step.attrs, operands: &operands })
            })
            .fold(0, u64::saturating_add)
    }

    fn examples(&self) -> Vec<Example> {
        // What a user declares, golden files of theirs exercise.
        Vec::new()
    }
}
