//! Attributes between protobuf and plain descriptions.

use super::file::ExternalData;
use super::proto::AttributeProto;
use super::proto::attribute_proto::AttributeType;
use super::{OnnxError, tensor};
use crate::ops::{OnnxAttr, RefAttr};

/// Reads the value of an attribute called `name` of the node `node` (for errors).
pub fn decode(
    node: &str,
    name: &str,
    proto: &AttributeProto,
    external: &ExternalData,
) -> Result<OnnxAttr, OnnxError> {
    let fault = |problem: &str| OnnxError::Attribute { attr: name.to_owned(), problem: problem.to_owned() };
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map_err(|_| fault("is not UTF-8 text"));
    let kind = proto.r#type.unwrap_or(AttributeType::Undefined as i32);
    // Protobuf leaves out what equals its default, so an absent value is that default.
    Ok(match AttributeType::try_from(kind) {
        Ok(AttributeType::Int) => OnnxAttr::Int(proto.i.unwrap_or_default()),
        Ok(AttributeType::Float) => OnnxAttr::Float(proto.f.unwrap_or_default()),
        Ok(AttributeType::String) => {
            OnnxAttr::Str(proto.s.as_ref().map(text).transpose()?.unwrap_or_default())
        }
        Ok(AttributeType::Ints) => OnnxAttr::Ints(proto.ints.clone()),
        Ok(AttributeType::Floats) => OnnxAttr::Floats(proto.floats.clone()),
        Ok(AttributeType::Strings) => {
            OnnxAttr::Strs(proto.strings.iter().map(text).collect::<Result<_, _>>()?)
        }
        Ok(AttributeType::Tensor) => {
            let value = proto.t.as_ref().ok_or_else(|| fault("has no tensor"))?;
            OnnxAttr::Tensor(tensor::decode(&format!("{node}.{name}"), value, external)?)
        }
        Ok(AttributeType::Graph | AttributeType::Graphs) => return Err(fault("is a graph")),
        Ok(AttributeType::SparseTensor | AttributeType::SparseTensors) => {
            return Err(fault("is a sparse tensor"));
        }
        Ok(AttributeType::Tensors) => return Err(fault("is a list of tensors")),
        Ok(AttributeType::TypeProto | AttributeType::TypeProtos) => return Err(fault("is a type")),
        Ok(AttributeType::Undefined) | Err(_) => return Err(fault("has no known type")),
    })
}

pub fn encode(name: &str, attr: &OnnxAttr) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match attr {
        OnnxAttr::Int(v) => {
            proto.i = Some(*v);
            AttributeType::Int
        }
        OnnxAttr::Float(v) => {
            proto.f = Some(*v);
            AttributeType::Float
        }
        OnnxAttr::Str(v) => {
            proto.s = Some(v.clone().into_bytes());
            AttributeType::String
        }
        OnnxAttr::Ints(v) => {
            proto.ints = v.clone();
            AttributeType::Ints
        }
        OnnxAttr::Floats(v) => {
            proto.floats = v.clone();
            AttributeType::Floats
        }
        OnnxAttr::Strs(v) => {
            proto.strings = v.iter().map(|v| v.clone().into_bytes()).collect();
            AttributeType::Strings
        }
        OnnxAttr::Tensor(v) => {
            proto.t = Some(tensor::encode(None, v));
            AttributeType::Tensor
        }
        OnnxAttr::Ref(reference) => {
            let (of, kind) = match reference {
                RefAttr::Int(of) => (of, AttributeType::Int),
                RefAttr::Ints(of) => (of, AttributeType::Ints),
                RefAttr::Float(of) => (of, AttributeType::Float),
            };
            proto.ref_attr_name = Some(of.clone());
            kind
        }
    };
    proto.r#type = Some(kind as i32);
    proto
}
