//! Attribute values.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tensor::DType;

/// A compile-time parameter of an operator. Floats are f32, as in ONNX, and never NaN.
#[derive(Clone, Debug)]
pub enum Attr {
    Bool(bool),
    Int(i64),
    Float(f32),
    Str(Arc<str>),
    DType(DType),
    Ints(Arc<[i64]>),
    Floats(Arc<[f32]>),
}

/// What a schema says of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    Bool,
    Int,
    Float,
    Str,
    DType,
    Ints,
    Floats,
}

impl AttrKind {
    /// The words that diagnostics and generated docs use.
    pub fn name(self) -> &'static str {
        match self {
            AttrKind::Bool => "bool",
            AttrKind::Int => "int",
            AttrKind::Float => "float",
            AttrKind::Str => "string",
            AttrKind::DType => "dtype",
            AttrKind::Ints => "list of int",
            AttrKind::Floats => "list of float",
        }
    }
}

impl Attr {
    pub fn kind(&self) -> AttrKind {
        match self {
            Attr::Bool(_) => AttrKind::Bool,
            Attr::Int(_) => AttrKind::Int,
            Attr::Float(_) => AttrKind::Float,
            Attr::Str(_) => AttrKind::Str,
            Attr::DType(_) => AttrKind::DType,
            Attr::Ints(_) => AttrKind::Ints,
            Attr::Floats(_) => AttrKind::Floats,
        }
    }

    /// A total order over all values, by kind and then by value (floats by their bits).
    fn key(&self) -> (u8, i64, &str, &[i64], Vec<u32>) {
        match self {
            Attr::Bool(v) => (0, i64::from(*v), "", &[], Vec::new()),
            Attr::Int(v) => (1, *v, "", &[], Vec::new()),
            Attr::Float(v) => (2, i64::from(v.to_bits()), "", &[], Vec::new()),
            Attr::Str(v) => (3, 0, v, &[], Vec::new()),
            Attr::DType(v) => (4, *v as i64, "", &[], Vec::new()),
            Attr::Ints(v) => (5, 0, "", v, Vec::new()),
            Attr::Floats(v) => (6, 0, "", &[], v.iter().map(|v| v.to_bits()).collect()),
        }
    }
}

// Floats are compared by their bits, so that attributes are hashable and printing is faithful.
impl PartialEq for Attr {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Attr {}

impl PartialOrd for Attr {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Attr {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl std::hash::Hash for Attr {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl From<bool> for Attr {
    fn from(v: bool) -> Self {
        Attr::Bool(v)
    }
}

impl From<i64> for Attr {
    fn from(v: i64) -> Self {
        Attr::Int(v)
    }
}

impl From<f32> for Attr {
    fn from(v: f32) -> Self {
        Attr::Float(v)
    }
}

impl From<&str> for Attr {
    fn from(v: &str) -> Self {
        Attr::Str(v.into())
    }
}

impl From<DType> for Attr {
    fn from(v: DType) -> Self {
        Attr::DType(v)
    }
}

impl From<Vec<i64>> for Attr {
    fn from(v: Vec<i64>) -> Self {
        Attr::Ints(v.into())
    }
}

impl From<&[i64]> for Attr {
    fn from(v: &[i64]) -> Self {
        Attr::Ints(v.into())
    }
}

impl From<Vec<f32>> for Attr {
    fn from(v: Vec<f32>) -> Self {
        Attr::Floats(v.into())
    }
}

/// The attributes of a node, sorted by name. A node of a graph has every attribute of its
/// operator's schema that has a default or is given; the printer leaves out those equal to the default.
/// Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attrs(Arc<BTreeMap<Arc<str>, Attr>>);

impl Attrs {
    pub fn new() -> Self {
        Self::default()
    }

    /// `self` with one more attribute.
    pub fn with(mut self, name: &str, value: impl Into<Attr>) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl Into<Attr>) {
        Arc::make_mut(&mut self.0).insert(name.into(), value.into());
    }

    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        Arc::make_mut(&mut self.0).remove(name)
    }

    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get_bool(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Attr::Bool(v) => Some(*v),
            _ => None,
        }
    }

    pub fn get_int(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Attr::Int(v) => Some(*v),
            _ => None,
        }
    }

    pub fn get_float(&self, name: &str) -> Option<f32> {
        match self.get(name)? {
            Attr::Float(v) => Some(*v),
            _ => None,
        }
    }

    pub fn get_str(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Attr::Str(v) => Some(v),
            _ => None,
        }
    }

    pub fn get_dtype(&self, name: &str) -> Option<DType> {
        match self.get(name)? {
            Attr::DType(v) => Some(*v),
            _ => None,
        }
    }

    pub fn get_ints(&self, name: &str) -> Option<&[i64]> {
        match self.get(name)? {
            Attr::Ints(v) => Some(v),
            _ => None,
        }
    }

    pub fn get_floats(&self, name: &str) -> Option<&[f32]> {
        match self.get(name)? {
            Attr::Floats(v) => Some(v),
            _ => None,
        }
    }
}

impl FromIterator<(Arc<str>, Attr)> for Attrs {
    fn from_iter<T: IntoIterator<Item = (Arc<str>, Attr)>>(iter: T) -> Self {
        Self(Arc::new(iter.into_iter().collect()))
    }
}
