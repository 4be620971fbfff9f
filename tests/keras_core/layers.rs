//! Layers, with the constants that they take.

use qirc::ops::fixed::{Constant, Context, Floats, LayerConfig, LayerError, Layered, Output};
use qirc::tensor::fixed::{Arithmetic, FixedPoint, PerChannel, QTensor};
use serde_json::Value;

use crate::Release;
use crate::keras::{Recorded, Tensors, equal_tensors, same};
use crate::keras_layers::Layer;

pub struct Case<'a> {
    pub case: &'a Value,
    pub tensors: &'a Tensors,
    pub inputs: Vec<Recorded>,
    pub release: Release,
    pub arithmetic: Arithmetic,
}

impl Case<'_> {
    fn floats(&self, name: &str) -> Option<Floats<'_>> {
        let stored = self.case["tensors"].get(name).map(|name| self.tensors.get(name))?;
        Some(Floats { sizes: &stored.sizes, values: &stored.floats })
    }

    fn per_channel(&self, name: &str) -> Option<PerChannel<f32>> {
        self.case["tensors"].get(name).map(|name| self.tensors.scales(name))
    }

    fn input(&self, input: &Recorded) -> QTensor {
        match input {
            Recorded::Quantized(x) => x.clone(),
            // Pixels: 8 bits without sign.
            Recorded::Int(sizes, x) => {
                let (values, frac) = (x.iter().copied(), PerChannel::tensor(0));
                FixedPoint::new_in(self.arithmetic, sizes, values, 8, frac).unwrap().into()
            }
            other => panic!("{other:?}"),
        }
    }

    fn run(&self) -> Result<Layered, LayerError> {
        let config: LayerConfig = serde_json::from_value(self.case["quant_config"].clone()).unwrap();
        let (range_max, rescaling_rate) = (self.per_channel("range_max"), self.per_channel("rescaling_rate"));
        let context = Context {
            config: &config,
            output: Output::Calibrated {
                range_max: range_max.as_ref(),
                rescaling_rate: rescaling_rate.as_ref(),
            },
            release: self.release.of_layers(),
        };
        let inputs: Vec<QTensor> = self.inputs.iter().map(|input| self.input(input)).collect();
        let layer = Layer {
            class: self.case["name"].as_str().unwrap(),
            args: &self.case["args"],
            inputs: &inputs,
            floats: &|name| self.floats(name),
        };
        Ok(layer.run(&context)?.0)
    }

    /// What differs from the output or, if they are asked for, a recorded constant.
    pub fn fault(&self, want: &Value, stored: &Tensors, constants: bool) -> Option<String> {
        let found = match self.run() {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        let Recorded::Quantized(output) = stored.recorded(&want["output"], self.arithmetic) else {
            panic!("no quantized output")
        };
        if !equal_tensors(&found.output, &output) {
            return Some(format!("{:?}\n  want {output:?}", found.output));
        }
        let none = serde_json::Map::new();
        for (name, recorded) in want["recorded"].as_object().filter(|_| constants).unwrap_or(&none) {
            let recorded = stored.recorded(recorded, self.arithmetic);
            let equal = match (found.recorded.get(name.as_str()), &recorded) {
                (Some(Constant::Tensor(found)), Recorded::Quantized(want)) => equal_tensors(found, want),
                (Some(Constant::Shift(found)), Recorded::Int(sizes, shift)) => {
                    let shift: Vec<i32> = shift.iter().map(|&v| v as i32).collect();
                    let want =
                        if sizes.is_empty() { PerChannel::tensor(shift[0]) } else { PerChannel::last(shift) };
                    same(&PerChannel::last(found.entries().to_vec()), &want)
                }
                _ => false,
            };
            if !equal {
                return Some(format!("{name}: {:?}\n  want {recorded:?}", found.recorded.get(name.as_str())));
            }
        }
        None
    }
}
