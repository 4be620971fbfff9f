//! QuantizeML's layers by the names of their classes, with arguments as Keras writes them.

use std::collections::BTreeMap;
use std::slice::from_ref;

use qirc::ops::fixed::{
    Constant, Context, Conv2D, Floats, Function, LayerError, Layered, Output, Parameter, Token, Transposed,
    activation, add, add_position_embs, attention, batch_normalization, class_token, concatenate, conv2d,
    conv2d_transpose, dense, depthwise_conv2d, depthwise_conv2d_transpose, extract_token, flatten,
    global_average_pooling2d, layer_normalization, max_pool2d, permute, quantized_shiftmax, relu, rescaling,
    reshape, separable_conv2d,
};
use qirc::tensor::fixed::{Padding, QTensor, Stride};
use serde_json::Value;

type Recorded = BTreeMap<&'static str, Constant>;

/// The recorded constant that a parameter of a Keras layer became.
fn constant<'a>(recorded: &'a Recorded, parameter: &str) -> Parameter<'a> {
    let name = match parameter {
        "kernel" => "weights",
        "depthwise_kernel" if recorded.contains_key("dw_weights") => "dw_weights",
        "depthwise_kernel" => "weights",
        "pointwise_kernel" => "pw_weights",
        other => other,
    };
    match &recorded[name] {
        Constant::Tensor(tensor) => tensor.into(),
        Constant::Shift(shift) => panic!("{name} is {shift:?}"),
    }
}

fn either<'a>(name: &str, floats: Floats<'a>, given: Option<&'a Recorded>) -> Parameter<'a> {
    given.map_or(floats.into(), |recorded| constant(recorded, name))
}

pub struct Layer<'a> {
    pub class: &'a str,
    pub args: &'a Value,
    pub inputs: &'a [QTensor],
    /// Float parameters by their names.
    pub floats: &'a dyn Fn(&str) -> Option<Floats<'a>>,
}

impl<'a> Layer<'a> {
    fn list(&self, name: &str) -> Option<Vec<usize>> {
        let list = self.args[name].as_array()?;
        Some(list.iter().map(|v| v.as_u64().unwrap() as usize).collect())
    }

    fn pair(&self, name: &str) -> Option<[usize; 2]> {
        Some(self.list(name)?[..2].try_into().unwrap())
    }

    fn float(&self, name: &str) -> Option<f32> {
        self.args[name].as_f64().map(|v| v as f32)
    }

    fn padding(&self) -> Padding {
        if self.args["padding"] == "same" { Padding::Same } else { Padding::Valid }
    }

    fn stride(&self) -> Stride {
        let dilations = self.pair("dilation_rate").unwrap_or([1, 1]);
        Stride { strides: self.pair("strides").unwrap_or([1, 1]), dilations }
    }

    fn transposed(&self) -> Transposed {
        let (strides, padding) = (self.pair("strides").unwrap(), self.padding());
        Transposed { strides, padding, output_padding: self.pair("output_padding") }
    }

    fn floats(&self, name: &str) -> Floats<'a> {
        (self.floats)(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn weight<'b>(&'b self, name: &str, given: Option<&'b Recorded>) -> Parameter<'b> {
        self.optional(name, given).unwrap_or_else(|| panic!("no {name}"))
    }

    fn optional<'b>(&'b self, name: &str, given: Option<&'b Recorded>) -> Option<Parameter<'b>> {
        let floats = (self.floats)(name).map(Parameter::Float);
        match given {
            None => floats,
            Some(recorded) => floats.map(|_| constant(recorded, name)),
        }
    }

    fn axis(&self) -> isize {
        self.args["axis"].as_i64().unwrap() as isize
    }

    /// What the layer gives; an attention gives its mask, too. The constants that it records give the same again.
    pub fn run(&self, context: &Context) -> Result<(Layered, Option<QTensor>), LayerError> {
        let found = self.apply(context, None)?;
        let (layered, _) = &found;
        let qscales = match layered.recorded.get("qscales") {
            Some(Constant::Tensor(QTensor::Fixed(qscales))) => Some(qscales),
            _ => None,
        };
        let output = Output::Given { qscales, frac_bits: layered.output.fixed().frac_bits() };
        let again = self.apply(&Context { output, ..*context }, Some(&layered.recorded))?;
        assert_eq!(found.0.output, again.0.output, "{} from its constants", self.class);
        Ok(found)
    }

    fn apply(
        &self,
        context: &Context,
        given: Option<&Recorded>,
    ) -> Result<(Layered, Option<QTensor>), LayerError> {
        let x = &self.inputs[0];
        let bias = self.optional("bias", given);
        let found = match self.class {
            "QuantizedConv2D" => {
                let values: Vec<f32> = match &self.args["padding_value"] {
                    Value::Array(values) => values.iter().map(|v| v.as_f64().unwrap() as f32).collect(),
                    value => value.as_f64().iter().map(|&v| v as f32).collect(),
                };
                let sizes = [values.len()];
                let floats = Floats { sizes: &sizes, values: &values };
                let padding_value = (!values.is_empty()).then(|| either("padding", floats, given));
                let conv = Conv2D { stride: self.stride(), padding: self.padding(), padding_value };
                conv2d(x, self.weight("kernel", given), bias, &conv, context)
            }
            "QuantizedConv2DTranspose" => {
                conv2d_transpose(x, self.weight("kernel", given), bias, &self.transposed(), context)
            }
            "QuantizedDepthwiseConv2D" => {
                let kernel = self.optional("depthwise_kernel", given);
                let kernel = kernel.unwrap_or_else(|| self.weight("kernel", given));
                depthwise_conv2d(x, kernel, bias, self.stride(), self.padding(), context)
            }
            "QuantizedDepthwiseConv2DTranspose" => {
                depthwise_conv2d_transpose(x, self.weight("kernel", given), bias, &self.transposed(), context)
            }
            "QuantizedSeparableConv2D" => {
                let (depthwise, pointwise) =
                    (self.weight("depthwise_kernel", given), self.weight("pointwise_kernel", given));
                separable_conv2d(x, depthwise, pointwise, bias, self.stride(), self.padding(), context)
            }
            "QuantizedDense" => dense(x, self.weight("kernel", given), bias, context),
            "QuantizedAdd" => {
                add(x, &self.inputs[1], self.args["average"].as_bool().unwrap_or(false), context)
            }
            "QuantizedConcatenate" => concatenate(x, &self.inputs[1], self.axis(), context),
            "QuantizedMaxPool2D" => {
                let window = self.pair("pool_size").unwrap();
                max_pool2d(x, window, self.pair("strides").unwrap_or(window), self.padding(), context)
            }
            "QuantizedGlobalAveragePooling2D" => {
                global_average_pooling2d(x, self.args["keepdims"].as_bool().unwrap_or(false), context)
            }
            "QuantizedReLU" => {
                let most = self.float("max_value");
                let most = most.as_slice().first().map(|most| Floats { sizes: &[], values: from_ref(most) });
                relu(x, most.map(|most| either("max_value", most, given)), context)
            }
            "QuantizedActivation" => {
                let function = match self.args["activation"].as_str().unwrap() {
                    "gelu" => Function::Gelu,
                    "swish" => Function::Swish,
                    "hard_silu" => Function::HardSilu,
                    "leaky_relu" => Function::LeakyRelu { alpha: self.float("alpha").unwrap_or(0.2) },
                    other => panic!("no activation {other}"),
                };
                activation(x, function, context)
            }
            "QuantizedFlatten" => flatten(x, context),
            "QuantizedPermute" => permute(x, &self.list("dims").unwrap(), context),
            "QuantizedReshape" => {
                // One size may be left to be computed.
                let sizes = self.args["target_shape"].as_array().unwrap();
                let known: Vec<i64> = sizes.iter().map(|size| size.as_i64().unwrap()).collect();
                let rest: usize =
                    known.iter().filter(|&&size| size >= 0).map(|&size| size as usize).product();
                let own: usize = x.fixed().sizes()[1..].iter().product();
                let size = |&size: &i64| if size < 0 { own / rest } else { size as usize };
                reshape(x, &known.iter().map(size).collect::<Vec<_>>(), context)
            }
            "QuantizedRescaling" => rescaling(x, self.float("scale").unwrap(), context),
            "QuantizedDropout" => Ok(Layered { output: x.clone(), recorded: Default::default() }),
            "QuantizedBatchNormalization" => {
                if let (Some(a), Some(b)) = ((self.floats)("a"), (self.floats)("b")) {
                    return Ok((
                        batch_normalization(x, either("a", a, given), either("b", b, given), context)?,
                        None,
                    ));
                }
                let [gamma, beta, mean, variance] =
                    ["gamma", "beta", "moving_mean", "moving_variance"].map(|name| self.floats(name));
                let epsilon = self.float("epsilon").unwrap();
                let rates: Vec<f32> = variance.values.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
                let a: Vec<f32> = gamma.values.iter().zip(&rates).map(|(gamma, rate)| gamma * rate).collect();
                let each = mean.values.iter().zip(gamma.values).zip(beta.values.iter().zip(&rates));
                let b: Vec<f32> =
                    each.map(|((mean, gamma), (beta, rate))| -mean * gamma * rate + beta).collect();
                let floats = |values| Floats { sizes: gamma.sizes, values };
                let (a, b) = (either("a", floats(&a), given), either("b", floats(&b), given));
                batch_normalization(x, a, b, context)
            }
            "QuantizedShiftmax" => {
                let config = serde_json::from_value(self.args.clone()).unwrap();
                let output = quantized_shiftmax(x, -1, config)?.into();
                Ok(Layered { output, recorded: Default::default() })
            }
            "QuantizedAttention" => {
                let heads = self.args["num_heads"].as_u64().unwrap() as usize;
                let (found, mask) = attention(x, &self.inputs[1], &self.inputs[2], heads, context)?;
                return Ok((found, Some(mask.into())));
            }
            "QuantizedLayerNormalization" => {
                layer_normalization(x, self.weight("gamma", given), self.weight("beta", given), context)
            }
            "QuantizedClassToken" => class_token(x, self.weight("cls", given), context),
            "QuantizedAddPositionEmbs" => add_position_embs(x, self.weight("pe", given), context),
            "QuantizedExtractToken" => {
                let token = match &self.args["token"] {
                    Value::Array(tokens) => {
                        Token::Some(tokens.iter().map(|t| t.as_i64().unwrap() as isize).collect())
                    }
                    token => Token::One(token.as_i64().unwrap() as isize),
                };
                extract_token(x, &token, self.axis(), context)
            }
            other => panic!("no layer {other}"),
        };
        Ok((found?, None))
    }
}
