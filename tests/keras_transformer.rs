//! The layers of transformers against recorded cases of QuantizeML 0.7.1 and 1.2.5 (`tests/keras/transformer`).

#[path = "common/figures.rs"]
mod figures;
#[path = "common/keras.rs"]
mod keras;
#[path = "common/keras_layers.rs"]
mod keras_layers;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keras::{Recorded, Tensors, equal_tensors};
use keras_layers::Layer;
use qirc::ir::Attrs;
use qirc::ops::Arithmetic::Exact;
use qirc::ops::fixed::{Context, Floats, LayerConfig, LayerError, Output, Release, head_shift};
use qirc::ops::{Call, Quantize, Registry};
use qirc::tensor::Tensor;
use qirc::tensor::fixed::{Arithmetic, FixedPoint, PerChannel, QTensor};
use qirc::tensor::round::{binary32_ceil_log2, binary32_floor_log2, nearest_binary_order};
use serde_json::Value;

struct Case<'a> {
    case: &'a Value,
    tensors: &'a Tensors,
    arithmetic: Arithmetic,
    release: Release,
}

impl Case<'_> {
    fn config(&self, name: &str) -> &Value {
        &self.case["config"][name]
    }

    fn input(&self, at: usize) -> Recorded {
        self.tensors.recorded(&self.case["inputs"][at], self.arithmetic)
    }

    fn q(&self, at: usize) -> QTensor {
        match self.input(at) {
            Recorded::Quantized(x) => x,
            other => panic!("{other:?}"),
        }
    }

    fn floats(&self, at: usize) -> (Vec<usize>, Vec<f32>) {
        match self.input(at) {
            Recorded::Float(sizes, x) => (sizes, x),
            Recorded::Int(sizes, x) => (sizes, x.iter().map(|&v| v as f32).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn weight(&self, name: &str) -> Option<Floats<'_>> {
        let stored = self.case["weights"].get(name).map(|name| self.tensors.get(name))?;
        Some(Floats { sizes: &stored.sizes, values: &stored.floats })
    }

    /// Whole numbers: of 8 value bits in the old release, of those of the type in the new one.
    fn whole_numbers(&self, x: &QTensor) -> QTensor {
        let signed = self.config("input_dtype") == "int8" && self.release != Release::V0_7;
        let (values, bits) = (x.fixed().elements().iter().copied(), if signed { 7 } else { 8 });
        let sizes = x.fixed().sizes();
        FixedPoint::new_in(self.arithmetic, sizes, values, bits, PerChannel::tensor(0)).unwrap().into()
    }

    fn tensor(&self, at: usize) -> Tensor {
        let (sizes, x) = self.floats(at);
        Tensor::new(&sizes, x).unwrap()
    }

    fn variable(&self, name: &str) -> Option<PerChannel<f32>> {
        self.case["weights"].get(name).map(|name| self.tensors.scales(name))
    }

    fn run(&self) -> Result<Vec<Recorded>, LayerError> {
        let config = self.config("quant_config");
        let config: LayerConfig = match config {
            Value::Null => LayerConfig::default(),
            config => serde_json::from_value(config.clone()).unwrap(),
        };
        let range_max = self.variable("out_quantizer.range_max");
        let rescaling_rate = self.variable("out_quantizer.rescaling_rate");
        let context = Context {
            config: &config,
            output: Output::Calibrated {
                range_max: range_max.as_ref(),
                rescaling_rate: rescaling_rate.as_ref(),
            },
            release: self.release,
        };
        let each = |f: &dyn Fn(f32) -> i64| {
            let (sizes, x) = self.floats(0);
            Ok(vec![Recorded::Float(sizes, x.iter().map(|&x| f(x) as f32).collect())])
        };
        match self.case["layer"].as_str().unwrap() {
            "ceil_log2" => each(&|x| binary32_ceil_log2(x).unwrap().into()),
            "floor_log2" => each(&|x| binary32_floor_log2(x).unwrap().into()),
            "round_log2" => each(&|x| nearest_binary_order(x as u64).into()),
            "attention_scale_shift" => each(&|x| head_shift(x as usize).into()),
            "shiftmax" => {
                let x = self.tensor(0);
                let axis = self.config("axis").as_i64().unwrap();
                let axis = if axis < 0 { axis + x.sizes().len() as i64 } else { axis };
                Ok(float_form("Shiftmax", Attrs::new().with("axis", axis), &[x], &[]))
            }
            "Attention" => {
                let softmax = self.config("softmax").as_str().unwrap();
                let attrs = Attrs::new()
                    .with("num_heads", self.config("num_heads").as_i64().unwrap())
                    .with("softmax", softmax);
                let mask = if softmax == "softmax" { "softmax" } else { "Shiftmax" };
                Ok(float_form("Attention", attrs, &[0, 1, 2].map(|at| self.tensor(at)), &[mask]))
            }
            "LayerMadNormalization" => {
                let weight = |name| {
                    let weight = self.weight(name).unwrap();
                    Tensor::new(weight.sizes, weight.values.to_vec()).unwrap()
                };
                let operands = [self.tensor(0), weight("gamma"), weight("beta")];
                Ok(float_form("LayerMadNormalization", Attrs::new(), &operands, &[]))
            }
            class => {
                let mut inputs: Vec<QTensor> =
                    (0..self.case["inputs"].as_array().unwrap().len()).map(|at| self.q(at)).collect();
                if class == "QuantizedRescaling" {
                    inputs = vec![self.whole_numbers(&inputs[0])];
                }
                let (args, floats) = (&self.case["config"], |name: &str| self.weight(name));
                let layer = Layer { class, args, inputs: &inputs, floats: &floats };
                let (found, mask) = layer.run(&context)?;
                let outputs = std::iter::once(found.output).chain(mask);
                Ok(outputs.map(Recorded::Quantized).collect())
            }
        }
    }

    fn equal(&self, found: &Recorded, want: &Recorded) -> bool {
        let tolerance = |name: &str| self.case[name].as_f64().unwrap_or(0.0) as f32;
        let ulps = self.case["scale_ulp"].as_u64().unwrap_or(0) as u32;
        match (found, want) {
            (Recorded::Quantized(QTensor::Float(a)), Recorded::Quantized(QTensor::Float(b))) if ulps > 0 => {
                // The reference's reciprocal square root is off by some units in the last place.
                let near = |a: f32, b: f32| a.to_bits().abs_diff(b.to_bits()) <= ulps;
                let scales = a.scales().zip(b.scales(), near);
                scales.is_some_and(|near| near.entries().iter().all(|&near| near))
                    && equal_tensors(&a.fixed().clone().into(), &b.fixed().clone().into())
            }
            (Recorded::Quantized(a), Recorded::Quantized(b)) => equal_tensors(a, b),
            (Recorded::Float(a, x), Recorded::Float(b, y)) => {
                let near = |x: f32, y: f32| (x - y).abs() <= tolerance("atol") + tolerance("rtol") * y.abs();
                a == b && x.iter().zip(y).all(|(&x, &y)| near(x, y))
            }
            _ => false,
        }
    }
}

/// What the float form of a layer gives: its chain of operators, run one by one; then the results of the named ones.
fn float_form(op: &str, attrs: Attrs, operands: &[Tensor], also: &[&str]) -> Vec<Recorded> {
    let registry = Registry::built_in();
    let attrs = registry.complete(op, attrs).unwrap();
    let entry = registry.get(op).unwrap();
    let types: Vec<_> = operands.iter().map(|tensor| Some(tensor.tensor_type())).collect();
    let Quantize::FixedPoint(layer) = entry.operator.quantize() else { panic!("{op} is no layer") };
    let steps = layer.chain(&Call { schema: &entry.schema, attrs: &attrs, operands: &types }).unwrap();
    let operands: Vec<Option<Tensor>> = operands.iter().cloned().map(Some).collect();
    let mut results: Vec<Tensor> = Vec::new();
    for step in &steps {
        let inputs = step.gather(&operands, &results, |tensor| (**tensor).clone());
        let attrs = registry.complete(&step.op, step.attrs.clone()).unwrap();
        results.extend(registry.eval(&step.op, &attrs, &inputs, Exact).unwrap());
    }
    let whole = registry.eval(op, &attrs, &operands, Exact).unwrap();
    assert_eq!(whole[0], *results.last().unwrap(), "{op} is its chain");
    let named = also.iter().map(|op| &results[steps.iter().position(|step| step.op == *op).unwrap()]);
    let recorded = |y: &Tensor| Recorded::Float(y.sizes().to_vec(), y.elements::<f32>().unwrap().to_vec());
    std::iter::once(&whole[0]).chain(named).map(recorded).collect()
}

fn replay(version: &str, release: Release, arithmetic: Arithmetic) -> (usize, BTreeMap<String, Vec<String>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/transformer").join(version);
    let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    let mut differ: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in manifest["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let tensors = Tensors::read_npz(&folder.join(name));
        for case in file["cases"].as_array().unwrap() {
            let run = Case { case, tensors: &tensors, arithmetic, release };
            let wanted = case["outputs"].as_array().unwrap();
            let wanted: Vec<Recorded> =
                wanted.iter().map(|output| tensors.recorded(output, arithmetic)).collect();
            count += 1;
            let found = run.run();
            let equal = found.as_ref().is_ok_and(|found| {
                found.len() == wanted.len() && found.iter().zip(&wanted).all(|(a, b)| run.equal(a, b))
            });
            if !equal {
                let words = format!("{name} {}: {found:?}\n  want {wanted:?}", case["id"]);
                differ.entry(name.to_owned()).or_default().push(words);
            }
        }
    }
    (count, differ)
}

#[test]
fn layers_of_transformers_are_those_of_quantizeml() {
    let mut lines = Vec::new();
    for (version, release) in [("qml-0.7.1", Release::V0_7), ("qml-1.2.5", Release::V1_2)] {
        for (words, arithmetic) in [("integers", Arithmetic::Exact), ("24 bits", release.arithmetic())] {
            let (count, differ) = replay(version, release, arithmetic);
            let equal = count - differ.values().map(Vec::len).sum::<usize>();
            let by: Vec<String> =
                differ.iter().map(|(file, faults)| format!("{} {file}", faults.len())).collect();
            lines.push(format!("{version} {words}: {equal} of {count} ({})", by.join(", ")));
            // Only these have integers beyond 24 bits, which the reference rounds.
            let wide = |file: &str| {
                let files = ["layer_normalization", "add_position_embs", "shiftmax"];
                arithmetic == Arithmetic::Exact && files.iter().any(|name| file.contains(name))
            };
            for (file, faults) in &differ {
                assert!(wide(file), "{}\n{}", lines.join("\n"), faults.join("\n"));
            }
        }
    }
    figures::show(&lines.join("; "));
}
