//! The functions of rule files, all pure: on types, attributes and constants, never on the
//! structure of the graph, of which the e-graph has many at once.

mod constants;
mod layers;
mod lists;
mod types;

use std::sync::Arc;

use super::constant::Constant;
use super::expr::{Data, Fact, Kind};
use crate::diag::nearest;
use crate::ir::Attr;
use crate::ops::Registry;
use crate::tensor::{DType, Shape, Tensor, TensorType};

pub use types::RANK;

/// A helper; several may share a name if the kinds of their parameters differ.
pub struct Helper {
    pub name: &'static str,
    pub params: &'static [Kind],
    pub result: Kind,
    /// What it gives, and where it has no value, for `docs/rules.md`.
    pub doc: &'static str,
    run: fn(&Args) -> Option<Data>,
    explain: Option<fn(&Args) -> Option<String>>,
}

/// Every helper, by name.
pub static ALL: &[Helper] = &[
    constants::ALIGNED,
    constants::ALL_BETWEEN,
    lists::ALL_EQUAL,
    constants::ALL_NONZERO,
    constants::ALL_POSITIVE,
    types::CHANNEL_SHAPE,
    layers::COARSE,
    types::DIM,
    types::DTYPE,
    layers::EXP2,
    types::FLATTENED,
    constants::FLOATS,
    constants::IDENTITY_MATRIX,
    constants::INTS,
    constants::IOTA,
    types::IS_CONSTANT,
    types::IS_ENTRY,
    types::IS_FLOAT,
    lists::IS_IDENTITY,
    constants::IS_IDENTITY_MATRIX,
    types::IS_QUANTIZED,
    layers::KERNEL_INTEGERS,
    layers::KERNEL_SCALES,
    lists::LEN,
    lists::LEN_MORE,
    layers::LOG2,
    lists::MAX,
    lists::MAX_FLOAT,
    lists::MIN,
    lists::MIN_FLOAT,
    constants::NUMBER,
    constants::ONES,
    constants::OR_ZEROS,
    layers::OUTPUT_SCALE,
    constants::PER_CHANNEL,
    lists::PERMUTE,
    lists::PROD,
    layers::RANGE_MAX,
    types::RANK,
    layers::RESCALE_MULTIPLIER,
    layers::RESCALE_SHIFT,
    types::RESHAPE_SIZES,
    types::SAME_GRID,
    types::SAME_PADS,
    layers::SATURATE,
    constants::SCALAR,
    constants::SCALAR_LIKE,
    constants::SCALAR_OF,
    layers::SCALE_OF,
    types::SHAPE,
    constants::SPREAD,
    types::TYPE,
    layers::ZERO_OF,
];

/// The helpers of that name.
pub fn named(name: &str) -> Vec<&'static Helper> {
    ALL.iter().filter(|helper| helper.name == name).collect()
}

/// The name that a misspelt one was meant to be.
pub fn similar(name: &str) -> Option<&'static str> {
    nearest(name, ALL.iter().map(|helper| helper.name))
}

/// All helpers as the table of `docs/rules.md`.
pub fn table() -> String {
    let mut out = String::from("| helper | gives |\n|---|---|\n");
    for helper in ALL {
        out += &format!("| `{}` | {} |\n", helper.signature(), helper.doc);
    }
    out
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Helper {
    /// Name, parameters and result.
    pub fn signature(&self) -> String {
        let params: Vec<&str> = self.params.iter().map(|kind| kind.name()).collect();
        format!("{}({}) → {}", self.name, params.join(", "), self.result.name())
    }

    /// Whether arguments of these kinds will do: a whole number is a float too, a value is a constant
    /// where it is one, and a constant is a value.
    pub fn takes(&self, kinds: &[Kind]) -> bool {
        self.params.len() == kinds.len()
            && self.params.iter().zip(kinds).all(|(param, kind)| {
                param == kind
                    || matches!(
                        (param, kind),
                        (Kind::Float, Kind::Int)
                            | (Kind::Floats, Kind::Ints)
                            | (Kind::Tensor | Kind::Optional, Kind::Value)
                            | (Kind::Optional | Kind::Value, Kind::Tensor)
                    )
            })
    }

    /// The result, or `None` where there is none: the rule does not apply then.
    pub fn call(&self, args: &[Data], registry: &Registry) -> Option<Data> {
        (self.run)(&self.args(args, registry)?)
    }

    /// What a condition comes to, in words that follow `is`.
    pub fn explain(&self, args: &[Data], registry: &Registry) -> Option<String> {
        (self.explain?)(&self.args(args, registry)?)
    }

    fn args(&self, args: &[Data], registry: &Registry) -> Option<Args> {
        let one = |(kind, data): (&Kind, &Data)| match (kind, data) {
            (Kind::Float, Data::Attr(Attr::Int(v))) => Some(Data::Attr(Attr::Float(*v as f32))),
            (Kind::Value, Data::Tensor(tensor)) => {
                let ty = TensorType::new(tensor.dtype(), Shape::fixed(tensor.sizes()));
                let constant = Some(Constant::given(tensor.clone()));
                Some(Data::Value(Some(Fact { ty, constant, entry: false })))
            }
            (Kind::Optional, Data::Value(None)) => Some(Data::Value(None)),
            (Kind::Tensor | Kind::Optional, Data::Value(fact)) => {
                fact.as_ref()?.constant.as_ref()?.tensor(registry).ok().map(Data::Tensor)
            }
            (_, data) => Some(data.clone()),
        };
        (self.params.len() == args.len())
            .then(|| self.params.iter().zip(args).map(one).collect::<Option<_>>())
            .flatten()
            .map(Args)
    }
}

/// The arguments of one call, of the kinds that the helper states.
struct Args(Vec<Data>);

impl Args {
    fn attr(&self, at: usize) -> Option<&Attr> {
        match self.0.get(at)? {
            Data::Attr(attr) => Some(attr),
            _ => None,
        }
    }

    fn int(&self, at: usize) -> Option<i64> {
        match self.attr(at)? {
            Attr::Int(v) => Some(*v),
            _ => None,
        }
    }

    fn dtype(&self, at: usize) -> Option<DType> {
        match self.attr(at)? {
            Attr::DType(v) => Some(*v),
            _ => None,
        }
    }

    fn float(&self, at: usize) -> Option<f32> {
        match self.attr(at)? {
            Attr::Float(v) => Some(*v),
            _ => None,
        }
    }

    fn ints(&self, at: usize) -> Option<&[i64]> {
        match self.attr(at)? {
            Attr::Ints(v) => Some(v),
            _ => None,
        }
    }

    fn ty(&self, at: usize) -> Option<&TensorType> {
        match self.0.get(at)? {
            Data::Type(ty) => Some(ty),
            _ => None,
        }
    }

    /// A value that may be absent.
    fn value(&self, at: usize) -> Option<Option<&Fact>> {
        match self.0.get(at)? {
            Data::Value(fact) => Some(fact.as_ref()),
            _ => None,
        }
    }

    /// A value that is there.
    fn fact(&self, at: usize) -> Option<&Fact> {
        self.value(at)?
    }

    /// A constant that may be absent.
    fn given(&self, at: usize) -> Option<Option<&Arc<Tensor>>> {
        match self.0.get(at)? {
            Data::Value(None) => Some(None),
            _ => self.tensor(at).map(Some),
        }
    }

    fn tensor(&self, at: usize) -> Option<&Arc<Tensor>> {
        match self.0.get(at)? {
            Data::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

fn yes(condition: bool) -> Option<Data> {
    Some(Attr::Bool(condition).into())
}

fn size(size: usize) -> Option<i64> {
    i64::try_from(size).ok()
}

/// The elements of a float tensor; f32 is exact in f64.
fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => Some(tensor.elements::<f32>()?.iter().map(|&v| f64::from(v)).collect()),
        DType::F64 => Some(tensor.elements::<f64>()?.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_in_order_and_told_apart_by_their_parameters() {
        for pair in ALL.windows(2) {
            assert!(pair[0].name <= pair[1].name, "{} before {}", pair[0].name, pair[1].name);
            assert!(pair[0].name != pair[1].name || pair[0].params != pair[1].params);
        }
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let docs = include_str!("../../../docs/rules.md");
        assert!(docs.contains(&table()), "docs/rules.md lacks this table:\n{}", table());
    }
}
