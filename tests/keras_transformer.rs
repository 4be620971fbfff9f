//! The layers of transformers against recorded cases of QuantizeML 0.7.1 and 1.2.5 (`tests/keras/transformer`).

#[path = "common/figures.rs"]
mod figures;
#[path = "common/keras.rs"]
mod keras;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keras::{Recorded, Tensors, equal_tensors};
use qirc::ops::fixed::{
    Context, Floats, Function, LayerConfig, LayerError, Layered, Release, ShiftmaxConfig, Softmax, Token,
    activation, add, add_position_embs, attention, batch_normalization, class_token, concatenate,
    extract_token, float_attention, head_shift, layer_mad_normalization, layer_normalization,
    quantized_shiftmax, relu, rescaling, shiftmax,
};
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

    fn weight(&self, name: &str) -> Floats<'_> {
        let stored = self.tensors.get(&self.case["weights"][name]);
        Floats { sizes: &stored.sizes, values: &stored.floats }
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
            range_max: range_max.as_ref(),
            rescaling_rate: rescaling_rate.as_ref(),
            release: self.release,
        };
        let layered = |layered: Layered| Ok(vec![Recorded::Quantized(layered.output)]);
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
                let (sizes, x) = self.floats(0);
                let axis = self.config("axis").as_i64().unwrap() as isize;
                let y = shiftmax(&sizes, &x, axis)?;
                Ok(vec![Recorded::Float(sizes, y)])
            }
            "QuantizedShiftmax" => {
                let config: ShiftmaxConfig = serde_json::from_value(self.case["config"].clone()).unwrap();
                Ok(vec![Recorded::Quantized(quantized_shiftmax(&self.q(0), config)?.into())])
            }
            "Attention" => {
                let inputs = [0, 1, 2].map(|at| self.floats(at));
                let [(sizes, query), (_, key), (_, value)] = &inputs;
                let softmax = match self.config("softmax").as_str().unwrap() {
                    "softmax" => Softmax::Softmax,
                    _ => Softmax::Shiftmax,
                };
                let heads = self.config("num_heads").as_u64().unwrap() as usize;
                let sizes: [usize; 3] = sizes[..].try_into().unwrap();
                let (y, mask) = float_attention(sizes, [query, key, value], heads, softmax)?;
                let [batch, tokens, _] = sizes;
                Ok(vec![
                    Recorded::Float(sizes.to_vec(), y),
                    Recorded::Float(vec![batch, heads, tokens, tokens], mask),
                ])
            }
            "QuantizedAttention" => {
                let heads = self.config("num_heads").as_u64().unwrap() as usize;
                let (found, mask) = attention(&self.q(0), &self.q(1), &self.q(2), heads, &context)?;
                Ok(vec![Recorded::Quantized(found.output), Recorded::Quantized(mask.into())])
            }
            "LayerMadNormalization" => {
                let (sizes, x) = self.floats(0);
                let y = layer_mad_normalization(
                    &sizes,
                    &x,
                    self.weight("gamma").values,
                    self.weight("beta").values,
                )?;
                Ok(vec![Recorded::Float(sizes, y)])
            }
            "QuantizedLayerNormalization" => {
                layered(layer_normalization(&self.q(0), self.weight("gamma"), self.weight("beta"), &context)?)
            }
            "QuantizedClassToken" => layered(class_token(&self.q(0), self.weight("cls"), &context)?),
            "QuantizedAddPositionEmbs" => {
                layered(add_position_embs(&self.q(0), self.weight("pe"), &context)?)
            }
            "QuantizedExtractToken" => {
                let token = match self.config("token") {
                    Value::Array(tokens) => {
                        Token::Some(tokens.iter().map(|t| t.as_i64().unwrap() as isize).collect())
                    }
                    token => Token::One(token.as_i64().unwrap() as isize),
                };
                let axis = self.config("axis").as_i64().unwrap() as isize;
                layered(extract_token(&self.q(0), &token, axis, &context)?)
            }
            "QuantizedRescaling" => {
                let x = self.q(0);
                let x = x.fixed();
                // Whole numbers: 8 value bits in the old release, those of the type in the new one.
                let signed = self.config("input_dtype") == "int8" && self.release != Release::V0_7;
                let bits = if signed { 7 } else { 8 };
                let x =
                    FixedPoint::new(x.sizes(), x.elements().iter().copied(), bits, PerChannel::tensor(0))?;
                let x = x.with(self.arithmetic).into();
                layered(rescaling(&x, self.config("scale").as_f64().unwrap() as f32, &context)?)
            }
            "QuantizedBatchNormalization" => {
                let [gamma, beta, mean, variance] =
                    ["gamma", "beta", "moving_mean", "moving_variance"].map(|name| self.weight(name));
                let epsilon = self.config("epsilon").as_f64().unwrap() as f32;
                let rates: Vec<f32> = variance.values.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
                let a: Vec<f32> = gamma.values.iter().zip(&rates).map(|(gamma, rate)| gamma * rate).collect();
                let each = mean.values.iter().zip(gamma.values).zip(beta.values.iter().zip(&rates));
                let b: Vec<f32> =
                    each.map(|((mean, gamma), (beta, rate))| -mean * gamma * rate + beta).collect();
                let floats = |values| Floats { sizes: gamma.sizes, values };
                layered(batch_normalization(&self.q(0), floats(&a), floats(&b), &context)?)
            }
            "QuantizedAdd" => {
                let average = self.config("average").as_bool().unwrap_or(false);
                layered(add(&self.q(0), &self.q(1), average, &context)?)
            }
            "QuantizedConcatenate" => {
                let axis = self.config("axis").as_i64().unwrap() as isize;
                layered(concatenate(&self.q(0), &self.q(1), axis, &context)?)
            }
            "QuantizedReLU" => {
                layered(relu(&self.q(0), self.config("max_value").as_f64().map(|v| v as f32), &context)?)
            }
            "QuantizedActivation" => {
                let function = match self.config("activation").as_str().unwrap() {
                    "gelu" => Function::Gelu,
                    "swish" => Function::Swish,
                    "hard_silu" => Function::HardSilu,
                    "leaky_relu" => {
                        Function::LeakyRelu { alpha: self.config("alpha").as_f64().unwrap() as f32 }
                    }
                    other => panic!("{other}"),
                };
                layered(activation(&self.q(0), function, &context)?)
            }
            other => panic!("no layer {other}"),
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
