//! Recorded cases of QuantizeML's Keras side (`tests/keras`): a manifest, and a file of tensors for each group.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use qirc::tensor::Tensor;
use qirc::tensor::fixed::{Arithmetic, FixedPoint, PerChannel, QFloat, QTensor};
use qirc::tensor::npy::NpyReader;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A tensor of a file, integers as i64 and reals as f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub sizes: Vec<usize>,
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
}

/// An operand or result of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    Quantized(QTensor),
    Float(Vec<usize>, Vec<f32>),
    Int(Vec<usize>, Vec<i64>),
}

pub struct Tensors(BTreeMap<String, Stored>);

// Each family of vectors is in one of the two formats.
#[allow(dead_code)]
impl Tensors {
    pub fn read(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let each = tensors.tensors().into_iter().map(|(name, view)| {
            let data = view.data();
            let mut stored = Stored { sizes: view.shape().to_vec(), ints: Vec::new(), floats: Vec::new() };
            match view.dtype() {
                Dtype::I8 => stored.ints = data.iter().map(|&b| i64::from(b as i8)).collect(),
                Dtype::U8 | Dtype::BOOL => stored.ints = data.iter().map(|&b| i64::from(b)).collect(),
                Dtype::I16 => {
                    stored.ints = data.as_chunks().0.iter().map(|&b| i16::from_le_bytes(b).into()).collect();
                }
                Dtype::I32 => {
                    stored.ints = data.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect();
                }
                Dtype::I64 => {
                    stored.ints = data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()
                }
                Dtype::F32 => {
                    stored.floats = data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
                }
                other => panic!("{name}: {other:?}"),
            }
            (name, stored)
        });
        Self(each.collect())
    }

    /// The arrays of an `.npz` by their names.
    pub fn read_npz(file: &Path) -> Self {
        let mut archive = zip::ZipArchive::new(fs::File::open(file).unwrap()).unwrap();
        let each = (0..archive.len()).map(|at| {
            let entry = archive.by_index(at).unwrap();
            let name = entry.name().trim_end_matches(".npy").to_owned();
            let tensor = NpyReader::open(entry).unwrap().read_all().unwrap();
            let mut stored = Stored { sizes: tensor.sizes().to_vec(), ints: Vec::new(), floats: Vec::new() };
            match &tensor {
                Tensor::F32(array) => stored.floats = array.iter().copied().collect(),
                Tensor::F64(array) => stored.floats = array.iter().map(|&v| v as f32).collect(),
                Tensor::I8(array) => stored.ints = array.iter().map(|&v| v.into()).collect(),
                Tensor::U8(array) => stored.ints = array.iter().map(|&v| v.into()).collect(),
                Tensor::I16(array) => stored.ints = array.iter().map(|&v| v.into()).collect(),
                Tensor::I32(array) => stored.ints = array.iter().map(|&v| v.into()).collect(),
                Tensor::I64(array) => stored.ints = array.iter().copied().collect(),
                other => panic!("{name}: {:?}", other.dtype()),
            }
            (name, stored)
        });
        Self(each.collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Stored)> {
        self.0.iter()
    }

    /// The tensor of this name. Keys with `/` are written with `|` in an `.npz`.
    pub fn find(&self, name: &str) -> Option<&Stored> {
        self.0.get(name).or_else(|| self.0.get(&name.replace('/', "|")))
    }

    pub fn get(&self, name: &Value) -> &Stored {
        let name = name.as_str().unwrap();
        self.find(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// One number, or the name of several: along the last axis, or the one before where the last is 1.
    fn per_channel<T: Copy>(
        &self,
        entry: &Value,
        one: impl Fn(&Value) -> T,
        of: impl Fn(&Stored) -> Vec<T>,
    ) -> PerChannel<T> {
        if !entry.is_string() {
            return PerChannel::tensor(one(entry));
        }
        let stored = self.get(entry);
        match stored.sizes[..] {
            [] => PerChannel::tensor(of(stored)[0]),
            [_, 1] => PerChannel::along(2, of(stored)),
            _ => PerChannel::last(of(stored)),
        }
    }

    pub fn scales(&self, name: &Value) -> PerChannel<f32> {
        self.per_channel(name, |_| unreachable!(), |stored| stored.floats.clone())
    }

    pub fn shifts(&self, entry: &Value) -> PerChannel<i32> {
        let int = |value: &i64| i32::try_from(*value).unwrap();
        self.per_channel(
            entry,
            |one| int(&one.as_i64().unwrap()),
            |stored| stored.ints.iter().map(int).collect(),
        )
    }

    /// A tensor as a manifest describes it.
    pub fn recorded(&self, described: &Value, arithmetic: Arithmetic) -> Recorded {
        let stored = self.get(&described["values"]);
        let fixed = || {
            let bits = described["value_bits"].as_u64().unwrap() as u32;
            let frac = self.shifts(&described["frac_bits"]);
            let (mut sizes, mut ints) = (stored.sizes.clone(), stored.ints.clone());
            // One integer may stand for as many numbers as there are frac bits.
            if let (&[int], several @ 2..) = (&ints[..], frac.entries().len()) {
                sizes.pop();
                sizes.push(several);
                ints = vec![int; several];
            }
            FixedPoint::new_in(arithmetic, &sizes, ints, bits, frac).unwrap()
        };
        let kind = if described["type"].is_string() { &described["type"] } else { &described["kind"] };
        match kind.as_str().unwrap() {
            "FixedPoint" | "fixed" => Recorded::Quantized(fixed().into()),
            "QFloat" | "qfloat" => {
                let scales = self.scales(&described["scales"]);
                Recorded::Quantized(QFloat::new(fixed(), scales).unwrap().into())
            }
            "float" => Recorded::Float(stored.sizes.clone(), stored.floats.clone()),
            _ => Recorded::Int(stored.sizes.clone(), stored.ints.clone()),
        }
    }
}

// Not every test compares tensors.
#[allow(dead_code)]
pub fn same<T: Copy + PartialEq>(a: &PerChannel<T>, b: &PerChannel<T>) -> bool {
    a.zip(b, |a, b| a == b).is_some_and(|equal| equal.entries().iter().all(|&equal| equal))
}

/// Equal up to how entries that all have one value are kept; floats by their bits.
#[allow(dead_code)]
pub fn equal_tensors(a: &QTensor, b: &QTensor) -> bool {
    let fixed = |a: &FixedPoint, b: &FixedPoint| {
        (a.sizes(), a.elements(), a.value_bits()) == (b.sizes(), b.elements(), b.value_bits())
            && same(a.frac_bits(), b.frac_bits())
    };
    match (a, b) {
        (QTensor::Fixed(a), QTensor::Fixed(b)) => fixed(a, b),
        (QTensor::Float(a), QTensor::Float(b)) => fixed(a.fixed(), b.fixed()) && same(a.scales(), b.scales()),
        _ => false,
    }
}
