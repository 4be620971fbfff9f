//! Recorded cases of QuantizeML's Keras side (`tests/keras`): a manifest, and a file of tensors for each group.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use qirc::tensor::fixed::{Arithmetic, FixedPoint, PerChannel, QFloat, QTensor};
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

    pub fn get(&self, name: &Value) -> &Stored {
        let name = name.as_str().unwrap();
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
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
            FixedPoint::new(&sizes, ints, bits, frac).unwrap().with(arithmetic)
        };
        match described["type"].as_str().unwrap() {
            "FixedPoint" => Recorded::Quantized(fixed().into()),
            "QFloat" => {
                let scales = self.scales(&described["scales"]);
                Recorded::Quantized(QFloat::new(fixed(), scales).unwrap().into())
            }
            "float" => Recorded::Float(stored.sizes.clone(), stored.floats.clone()),
            _ => Recorded::Int(stored.sizes.clone(), stored.ints.clone()),
        }
    }
}
