//! A declared layer in model files: a node of the user's domain, and a function of standard operators
//! that computes the integer form.

use std::sync::Arc;

use super::Declared;
use super::form::{Unrolled, unroll};
use crate::ir::{Attr, AttrKind, Attrs, ValueId};
use crate::ops::layer::{Source, output_scales, set_grid, standard};
use crate::ops::{
    Bound, Call, Lift, LiftCx, LowerCx, Lowered, OnnxAttr, OnnxFunction, OnnxNode, OpError, dtype_to_onnx,
    onnx_to_dtype,
};
use crate::tensor::{AffineGrid, Tensor, TensorType};

/// The attribute that holds the grid of the result, as in the built-in layers.
pub const SCALE: &str = "scale";

/// The result of the function.
const RESULT: &str = "Y";

pub fn lower(declared: &Declared, cx: &mut LowerCx) -> Result<Lowered, OpError> {
    let call = cx.call;
    if Declared::is_float(&call)? {
        return Err(OpError::Unsupported {
            op: call.op(),
            what: "a layer in float form in an ONNX file".to_owned(),
            way_out: Some("quantize it first, or write the graph as .qir".to_owned()),
        });
    }
    let Some(grid) = cx.result_types.first().and_then(|ty| ty.grid.affine()) else {
        return Err(call.unsupported("a result that is on no grid"));
    };
    let scale = OnnxAttr::Tensor(Tensor::vector(grid.factors.to_vec()));
    let inputs = cx.operand_names.iter().filter(|name| !name.is_empty()).cloned().collect();
    let mut node = OnnxNode { domain: declared.domain.to_string(), ..cx.node(&declared.op_type, inputs) };
    for (name, attr) in call.attrs.iter() {
        node = node.attr(name, to_onnx(attr));
    }
    node = node.attr(SCALE, scale);
    let function = OnnxFunction {
        domain: declared.domain.to_string(),
        opset: declared.opset,
        name: declared.op_type.to_string(),
        inputs: operands(declared).map(|(_, name)| name.to_string()).collect(),
        outputs: vec![RESULT.to_owned()],
        attrs: node.attrs.keys().cloned().collect(),
        nodes: body(declared, cx)?,
    };
    let function = Arc::new(move |_: &str, _: Bound| Ok(function.clone()));
    Ok(Lowered::Layer { node, bound: Bound::default(), limits: Vec::new(), function })
}

/// The operands of the integer form, with their positions.
fn operands(declared: &Declared) -> impl Iterator<Item = (usize, &Arc<str>)> {
    let inputs = declared.inputs.iter().map(|(name, _)| name);
    let params = declared.params.iter().map(|param| &param.name);
    (0..).zip(inputs).chain((declared.first_param()..).zip(params))
}

/// The steps of the integer form as their own lowerings have them. Each value is called by the
/// operator that makes it and its number, so none is called like an operand, which is a word.
fn body(declared: &Declared, cx: &LowerCx) -> Result<Vec<OnnxNode>, OpError> {
    let call = &cx.call;
    let Unrolled { steps, types } = unroll(&declared.integer, call)?;
    let named: Vec<(usize, &Arc<str>)> = operands(declared).collect();
    let mut nodes: Vec<OnnxNode> = Vec::new();
    let constant = |name: &str, tensor: Tensor| {
        OnnxNode::new("Constant", &[], &[name]).attr("value", OnnxAttr::Tensor(tensor))
    };
    for (at, (step, ty)) in steps.iter().zip(&types).enumerate() {
        let result = |at: usize| match steps.get(at) {
            Some(step) if at + 1 < steps.len() => format!("{}.{at}", step.op),
            _ => RESULT.to_owned(),
        };
        let mut names = Vec::with_capacity(step.operands.len());
        let mut constants: Vec<Option<&Tensor>> = Vec::with_capacity(step.operands.len());
        for (position, source) in step.operands.iter().enumerate() {
            names.push(match source {
                Source::Absent => String::new(),
                Source::Operand(operand) => {
                    let name = named.iter().find(|(position, _)| position == operand);
                    name.map(|(_, name)| name.to_string()).unwrap_or_default()
                }
                // A step before: there is one.
                Source::Previous => result(at.saturating_sub(1)),
                Source::Step(at) => result(*at),
                Source::Constant(tensor) => {
                    let name = format!("{}.{at}.{position}", step.op);
                    nodes.push(constant(&name, (**tensor).clone()));
                    name
                }
            });
            constants.push(match source {
                Source::Operand(operand) => cx.constants.get(*operand).copied().flatten(),
                Source::Constant(tensor) => Some(tensor),
                Source::Absent | Source::Previous | Source::Step(_) => None,
            });
        }
        let entry = standard().get(&step.op)?;
        let operand_types: Vec<Option<TensorType>> =
            step.gather(&plain(call.operands), &types, |tensor| tensor.tensor_type());
        let step_call = Call { schema: &entry.schema, attrs: &step.attrs, operands: &operand_types };
        let results = [result(at)];
        let node_name = format!("{}.{at}", step.op);
        let mut step_cx =
            LowerCx::new(step_call, &node_name, &names, &results, std::slice::from_ref(ty), &constants);
        let Lowered::Nodes(made) = entry.operator.lower(&mut step_cx)? else {
            return Err(call.unsupported(format!("`{}` in an integer form", step.op)));
        };
        nodes.extend(step_cx.into_initializers().into_iter().map(|(name, tensor)| constant(&name, tensor)));
        nodes.extend(made.into_iter().map(|node| OnnxNode { name: String::new(), ..node }));
    }
    Ok(nodes)
}

/// The types without their grids: inside of a layer integers are just integers.
fn plain(types: &[Option<TensorType>]) -> Vec<Option<TensorType>> {
    let plain = |ty: &TensorType| TensorType::new(ty.storage(), ty.shape.clone());
    types.iter().map(|ty| ty.as_ref().map(plain)).collect()
}

fn to_onnx(attr: &Attr) -> OnnxAttr {
    match attr {
        Attr::Bool(v) => OnnxAttr::Int((*v).into()),
        Attr::Int(v) => OnnxAttr::Int(*v),
        Attr::Float(v) => OnnxAttr::Float(*v),
        Attr::Str(v) => OnnxAttr::Str(v.to_string()),
        Attr::DType(v) => OnnxAttr::Int(dtype_to_onnx(*v)),
        Attr::Ints(v) => OnnxAttr::Ints(v.to_vec()),
        Attr::Floats(v) => OnnxAttr::Floats(v.to_vec()),
    }
}

fn from_onnx(attr: &OnnxAttr, kind: AttrKind) -> Option<Attr> {
    Some(match (kind, attr) {
        (AttrKind::Bool, OnnxAttr::Int(v @ 0..=1)) => Attr::Bool(*v == 1),
        (AttrKind::Int, OnnxAttr::Int(v)) => Attr::Int(*v),
        (AttrKind::Float, OnnxAttr::Float(v)) if !v.is_nan() => Attr::Float(*v),
        (AttrKind::Str, OnnxAttr::Str(v)) => Attr::Str(v.as_str().into()),
        (AttrKind::DType, OnnxAttr::Int(v)) => Attr::DType(onnx_to_dtype(*v)?),
        (AttrKind::Ints, OnnxAttr::Ints(v)) => Attr::from(v.clone()),
        (AttrKind::Floats, OnnxAttr::Floats(v)) if v.iter().all(|v| !v.is_nan()) => Attr::from(v.clone()),
        _ => return None,
    })
}

pub fn lift(declared: &Arc<Declared>) -> Lift {
    let read = {
        let declared = declared.clone();
        move |cx: &mut LiftCx| self::read(&declared, cx)
    };
    let attrs = declared.attrs.iter().map(|spec| spec.name.to_string()).chain([SCALE.to_owned()]);
    let (domain, op_type) = (declared.domain.to_string(), declared.op_type.to_string());
    Lift::of_domain(domain, op_type, declared.opset, operands(declared).count(), attrs, read)
}

fn read(declared: &Declared, cx: &mut LiftCx) -> Result<Vec<ValueId>, OpError> {
    let mut attrs = Attrs::new();
    for spec in &declared.attrs {
        let Some(given) = cx.node.attrs.get(&*spec.name) else { continue };
        match from_onnx(given, spec.kind) {
            Some(attr) => attrs.set(&spec.name, attr),
            None => {
                let (attr, expected) = (spec.name.to_string(), spec.kind.name());
                let op = cx.node.op_type.clone();
                return Err(OpError::AttrKind { op, attr, expected, found: "another kind" });
            }
        }
    }
    let mut values = vec![None; declared.first_param() + declared.params.len()];
    for (number, (position, _)) in operands(declared).enumerate() {
        if let Some(place) = values.get_mut(position) {
            *place = Some(cx.operand(number)?);
        }
    }
    let scales = output_scales(cx)?;
    let value = cx.op_with(&declared.name, attrs, values)?;
    set_grid(cx, value, AffineGrid::hardware(declared.computation.storage, scales));
    Ok(vec![value])
}
