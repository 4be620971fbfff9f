//! Layers that QuantizeML quantized: the integer forms of its layers, from the float weights, the calibrated ranges and
//! the configurations that the file keeps.

use super::conv::depthwise_kernel;
use super::shape::{in_order, permute, reshape};
use super::window::{Map, Windows, map, windows};
use super::{quantizeml, removed};
use crate::ir::{Attrs, ValueId};
use crate::keras::cx::{Cx, Fault, FixedLayer, Made};
use crate::keras::values::{At, Layout};
use crate::ops::OpError;
use crate::ops::fixed::{LayerConfig, OutputConfig, input_attrs};
use crate::tensor::fixed::{InputQuantizer, PerChannel};
use crate::tensor::{DType, Tensor};

/// The most bits of the buffer of a convolution since release 1.2, before which layers computed in other ways.
const CONVOLUTION_BUFFER: u32 = 28;

/// Adds the integer form of the layer.
pub fn read(cx: &mut Cx) -> Made<At> {
    match cx.layer.class.as_str() {
        "QuantizedConv2D" => conv(cx),
        "QuantizedDepthwiseConv2D" => depthwise(cx),
        "QuantizedSeparableConv2D" => separable(cx),
        "QuantizedConv2DTranspose" => transposed(cx, "Conv2DTranspose", "kernel", [3, 2, 0, 1]),
        "QuantizedDepthwiseConv2DTranspose" => {
            transposed(cx, "DepthwiseConv2DTranspose", "depthwise_kernel", [2, 3, 0, 1])
        }
        "QuantizedDense" => dense(cx),
        "QuantizedReLU" => relu(cx),
        "QuantizedActivation" => activation(cx),
        "QuantizedAdd" => add(cx),
        "QuantizedConcatenate" => concatenate(cx),
        "QuantizedMaxPool2D" => max_pool(cx),
        "QuantizedGlobalAveragePooling2D" => global_average(cx),
        "QuantizedFlatten" => flatten(cx),
        "QuantizedRescaling" => rescaling(cx),
        "QuantizedReshape" => over_integers(cx, reshape),
        "QuantizedPermute" => over_integers(cx, permute),
        "QuantizedExtractToken" => over_integers(cx, quantizeml::extract_token),
        "QuantizedDropout" => cx.only(),
        "OutputQuantizer" => output_quantizer(cx),
        "InputQuantizer" => input_quantizer(cx),
        _ => Err(removed(cx)),
    }
}

// ---- operands

/// A value on a grid. Whole numbers are numbers as they come.
fn integers(cx: &mut Cx, at: At, layout: Layout) -> Made<ValueId> {
    let value = cx.get(at, layout)?;
    let ty = cx.type_of(value);
    if ty.grid.fixed().is_some() {
        return Ok(value);
    }
    let bits = match ty.storage() {
        DType::U8 => 8,
        DType::I8 => 7i64,
        other => {
            return Err(cx.bad_call(format!(
                "gives it numbers of {other}: releases from 1.2 on read 8-bit integers or what an InputQuantizer gives"
            )));
        }
    };
    let attrs = Attrs::new().with("value_bits", bits).with("frac_bits", vec![0i64]);
    cx.op("integers", "to_fixed_point", attrs, &[value])
}

/// How layers of any shape take values: channels are axis 1 of maps, and the last one of all else.
fn usual(cx: &Cx, at: At) -> Layout {
    if cx.rank(at) == 4 { Layout::First } else { Layout::Last }
}

/// The only operand, in the layout that layers of any shape take.
fn only(cx: &mut Cx) -> Made<(ValueId, Layout)> {
    let at = cx.only()?;
    let layout = usual(cx, at);
    Ok((integers(cx, at, layout)?, layout))
}

/// The two operands of a layer, likewise.
fn both(cx: &mut Cx) -> Made<([ValueId; 2], Layout)> {
    let values = cx.values();
    let &[a, b] = &values[..] else {
        return Err(cx.bad_call(format!("gives it {} values instead of two", values.len())));
    };
    let layout = usual(cx, a);
    Ok(([integers(cx, a, layout)?, integers(cx, b, layout)?], layout))
}

/// The only operand as a map.
fn integer_map(cx: &mut Cx) -> Made<Map> {
    if cx.channels_first()? {
        return Err(cx.bad_setting("data_format", "is `channels_first`, which QuantizeML does not quantize"));
    }
    let map = map(cx, 2)?;
    let at = cx.only()?;
    let value = integers(cx, at, Layout::First)?;
    Ok(Map { value, ..map })
}

/// A layer that only moves elements, of which float layers make standard operators.
fn over_integers(cx: &mut Cx, layer: fn(&mut Cx) -> Made<At>) -> Made<At> {
    let at = cx.only()?;
    let (value, _) = cx.held(at);
    if cx.type_of(value).grid.fixed().is_none() {
        return Err(cx.bad_call("gives it floats, which no layer before made integers"));
    }
    layer(cx)
}

// ---- configurations

/// What the layer was quantized with.
fn config(cx: &Cx) -> Made<LayerConfig> {
    let Some(json) = cx.setting("quant_config") else { return Ok(LayerConfig::default()) };
    serde_json::from_value(json.clone())
        .map_err(|error| cx.bad_setting("quant_config", format!("is not read: {error}")))
}

/// The configuration of a convolution.
fn convolution_config(cx: &Cx) -> Made<LayerConfig> {
    let config = config(cx)?;
    match config.buffer_bitwidth {
        Some(bits) if bits > CONVOLUTION_BUFFER => {
            let problem = format!(
                "has a buffer of {bits} bits: it was written by a release before 1.2, whose layers compute in another way"
            );
            Err(cx.bad_setting("quant_config", problem))
        }
        _ => Ok(config),
    }
}

fn without_activation(cx: &Cx) -> Made<()> {
    match cx.setting("activation").and_then(serde_json::Value::as_str) {
        None | Some("linear") => Ok(()),
        Some(other) => Err(cx.bad_setting("activation", format!("is `{other}` in a quantized layer"))),
    }
}

/// Adds a layer whose quantizer, if it has one, is the part `out_quantizer`.
fn layer(
    cx: &mut Cx,
    op: &'static str,
    attrs: Attrs,
    config: LayerConfig,
    values: &[ValueId],
    parameters: Vec<Option<Tensor>>,
) -> Made<ValueId> {
    let ranges = match &config.output_quantizer {
        None => None,
        Some(_) => {
            let range_max = cx.part(
                "out_quantizer",
                &["output_quantizer/range_max", "out_quantizer/range_max", "range_max"],
                0,
            )?;
            let rate = cx.part(
                "out_quantizer",
                &["output_quantizer/rescaling_rate", "out_quantizer/rescaling_rate", "rescaling_rate"],
                1,
            )?;
            Some([range_max, rate])
        }
    };
    quantized(
        cx,
        FixedLayer { op, attrs, config, values, parameters, ranges: ranges.map(|all| all.map(entries)) },
    )
}

fn quantized(cx: &mut Cx, layer: FixedLayer) -> Made<ValueId> {
    if let Some([range_max, _]) = &layer.ranges
        && range_max.entries().iter().all(|&range| range == 1.0)
    {
        cx.not_calibrated();
    }
    cx.fixed_layer(layer)
}

/// A variable of a quantizer: one number, or one for each channel.
fn entries(tensor: Tensor) -> PerChannel<f32> {
    let values = tensor.elements::<f32>().unwrap_or_default().to_vec();
    match tensor.sizes() {
        [] => PerChannel::tensor(values.first().copied().unwrap_or_default()),
        _ => PerChannel::last(values),
    }
}

// ---- layers

fn bias(cx: &Cx, number: usize) -> Made<Option<Tensor>> {
    if cx.flag("use_bias", true)? { cx.weight(&["bias"], number).map(Some) } else { Ok(None) }
}

/// Attributes of a convolution with the windows of the kernel.
fn geometry(cx: &Cx, map: &Map, kernel: &Tensor) -> Made<Attrs> {
    without_activation(cx)?;
    let windows = windows(cx, map, &kernel.sizes()[2..])?;
    let pads = windows.pads(cx, map, cx.text("padding", "valid")?)?;
    let attrs = Attrs::new().with("strides", windows.strides).with("dilations", windows.dilations);
    Ok(attrs.with("pads", pads))
}

fn conv(cx: &mut Cx) -> Made<At> {
    let map = integer_map(cx)?;
    let config = convolution_config(cx)?;
    if cx.int("groups", 1)? != 1 {
        return Err(cx.bad_setting("groups", "is not 1"));
    }
    let kernel = cx.turned(&["kernel"], 0, &map.weight_axes([3, 2]))?;
    let mut attrs = geometry(cx, &map, &kernel)?;
    let around = quantizeml::padding_value(cx)?;
    let around = match around {
        None => None,
        Some(values) => {
            // It is padded as for `same`, without dilations, whatever the setting is.
            let sizes = kernel.sizes()[2..].iter().map(|&size| size as i64).collect();
            let strides = attrs.get_ints("strides").unwrap_or_default().to_vec();
            let windows = Windows { kernel: sizes, strides, dilations: vec![1, 1] };
            attrs.set("pads", windows.pads(cx, &map, "same")?);
            Some(Tensor::vector(quantizeml::for_channels(values, kernel.sizes()[1])))
        }
    };
    let parameters = vec![Some(kernel), bias(cx, 1)?, around];
    let y = layer(cx, "Conv2D", attrs, config, &[map.value], parameters)?;
    map.result(cx, y)
}

fn depthwise(cx: &mut Cx) -> Made<At> {
    let map = integer_map(cx)?;
    let config = convolution_config(cx)?;
    let (kernel, _) = single_kernel(cx, &map)?;
    let attrs = geometry(cx, &map, &kernel)?;
    let parameters = vec![Some(kernel), bias(cx, 1)?];
    let y = layer(cx, "DepthwiseConv2D", attrs, config, &[map.value], parameters)?;
    map.result(cx, y)
}

/// A depthwise kernel of one filter a channel.
fn single_kernel(cx: &Cx, map: &Map) -> Made<(Tensor, i64)> {
    let (kernel, channels) = depthwise_kernel(cx, map)?;
    if kernel.sizes()[0] as i64 != channels {
        return Err(cx.bad_setting("depth_multiplier", "is not 1"));
    }
    Ok((kernel, channels))
}

fn separable(cx: &mut Cx) -> Made<At> {
    let map = integer_map(cx)?;
    let (kernel, _) = single_kernel(cx, &map)?;
    let pointwise = cx.turned(&["pointwise_kernel"], 1, &map.weight_axes([3, 2]))?;
    let attrs = geometry(cx, &map, &kernel)?;
    let parameters = vec![Some(kernel), Some(pointwise), bias(cx, 2)?];
    let config = config(cx)?;
    let y = layer(cx, "SeparableConv2D", attrs, config, &[map.value], parameters)?;
    map.result(cx, y)
}

fn transposed(cx: &mut Cx, op: &'static str, weight: &str, perm: [usize; 4]) -> Made<At> {
    let map = integer_map(cx)?;
    let config = convolution_config(cx)?;
    without_activation(cx)?;
    let kernel = cx.turned(&[weight, "kernel"], 0, &perm)?;
    let attrs = super::conv::transposed_geometry(cx, &map, &kernel)?;
    if attrs.get_ints("dilations") != Some(&[1, 1]) {
        return Err(cx.bad_setting("dilation_rate", "is not 1"));
    }
    let kept = ["strides", "pads", "output_padding"];
    let kept = kept.into_iter().filter_map(|name| Some((name, attrs.get(name)?.clone())));
    let attrs = kept.fold(Attrs::new(), |attrs, (name, value)| attrs.with(name, value));
    let parameters = vec![Some(kernel), bias(cx, 1)?];
    let y = layer(cx, op, attrs, config, &[map.value], parameters)?;
    map.result(cx, y)
}

fn dense(cx: &mut Cx) -> Made<At> {
    without_activation(cx)?;
    let at = cx.only()?;
    let value = integers(cx, at, Layout::Last)?;
    let parameters = vec![Some(cx.weight(&["kernel"], 0)?), bias(cx, 1)?];
    let config = config(cx)?;
    let y = layer(cx, "Dense", Attrs::new(), config, &[value], parameters)?;
    Ok(cx.made(Layout::Last, y))
}

fn relu(cx: &mut Cx) -> Made<At> {
    let (value, layout) = only(cx)?;
    let config = config(cx)?;
    let most = cx.opt_float("max_value")?.map(Tensor::scalar);
    let y = layer(cx, "ReLU", Attrs::new(), config, &[value], vec![most])?;
    Ok(cx.made(layout, y))
}

fn activation(cx: &mut Cx) -> Made<At> {
    let (value, layout) = only(cx)?;
    let config = config(cx)?;
    let function = cx.text("activation", "")?;
    let mut attrs = Attrs::new();
    match function {
        "gelu" | "swish" => attrs.set("activation", function),
        "silu" => attrs.set("activation", "swish"),
        "hard_silu" | "hard_swish" => attrs.set("activation", "hard_swish"),
        "leaky_relu" => {
            attrs.set("activation", function);
            attrs.set("alpha", cx.float(&["alpha"], 0.2)?);
        }
        other => {
            return Err(cx.bad_setting("activation", format!("is `{other}`, of which there is no table")));
        }
    }
    let y = layer(cx, "Activation", attrs, config, &[value], Vec::new())?;
    Ok(cx.made(layout, y))
}

fn add(cx: &mut Cx) -> Made<At> {
    let (values, layout) = both(cx)?;
    let config = config(cx)?;
    let attrs = Attrs::new().with("average", quantizeml::averages(cx)?);
    let y = layer(cx, "Add", attrs, config, &values, Vec::new())?;
    Ok(cx.made(layout, y))
}

fn concatenate(cx: &mut Cx) -> Made<At> {
    let (values, layout) = both(cx)?;
    let rank = cx.type_of(values[0]).shape.rank();
    let axis = cx.axis("axis", cx.int("axis", -1)?, rank)?;
    let attrs = Attrs::new().with("axis", layout.axis(axis, rank) as i64);
    let config = config(cx)?;
    let y = layer(cx, "Concatenate", attrs, config, &values, Vec::new())?;
    Ok(cx.made(layout, y))
}

fn max_pool(cx: &mut Cx) -> Made<At> {
    let map = integer_map(cx)?;
    let attrs = super::pool::geometry(cx, &map)?;
    let y = layer(cx, "MaxPool2D", attrs, LayerConfig::default(), &[map.value], Vec::new())?;
    map.result(cx, y)
}

fn global_average(cx: &mut Cx) -> Made<At> {
    let map = integer_map(cx)?;
    let config = config(cx)?;
    let y = layer(cx, "GlobalAveragePooling2D", Attrs::new(), config, &[map.value], Vec::new())?;
    if cx.flag("keepdims", false)? {
        return map.result(cx, y);
    }
    cx.main = Some(y);
    let y = cx.op("row", "squeeze", Attrs::new().with("axes", vec![2, 3]), &[y])?;
    Ok(cx.made(Layout::Last, y))
}

fn flatten(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let value = in_order(cx, at)?;
    // A row, too: its channels are brought to one grid.
    let y = layer(cx, "Flatten", Attrs::new(), LayerConfig::default(), &[value], Vec::new())?;
    Ok(cx.made(Layout::Last, y))
}

fn rescaling(cx: &mut Cx) -> Made<At> {
    let (value, layout) = only(cx)?;
    let scale = cx.opt_float("scale")?.ok_or_else(|| cx.bad_setting("scale", "is missing"))?;
    if cx.float(&["offset"], 0.0)? != 0.0 {
        return Err(cx.bad_setting("offset", "is not 0"));
    }
    let attrs = Attrs::new().with("scale", scale);
    let y = layer(cx, "Rescaling", attrs, LayerConfig::default(), &[value], Vec::new())?;
    Ok(cx.made(layout, y))
}

fn output_quantizer(cx: &mut Cx) -> Made<At> {
    let (value, layout) = only(cx)?;
    let settings = ["bitwidth", "signed", "axis", "scale_bits", "buffer_bitwidth"];
    let settings =
        settings.into_iter().filter_map(|name| Some((name.to_owned(), cx.layer.settings.get(name)?.clone())));
    let output: OutputConfig = serde_json::from_value(serde_json::Value::Object(settings.collect()))
        .map_err(|error| cx.bad_setting("bitwidth", format!("and its others are not read: {error}")))?;
    let config = LayerConfig { output_quantizer: Some(output), ..LayerConfig::default() };
    let ranges = [cx.weight(&["range_max"], 0)?, cx.weight(&["rescaling_rate"], 1)?].map(entries);
    let y = quantized(
        cx,
        FixedLayer {
            op: "OutputQuantizer",
            attrs: Attrs::new(),
            config,
            values: &[value],
            parameters: Vec::new(),
            ranges: Some(ranges),
        },
    )?;
    Ok(cx.made(layout, y))
}

fn input_quantizer(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let (value, layout) = cx.held(at);
    let rank = cx.rank(at);
    let bitwidth = cx.int("bitwidth", 8)?;
    let bitwidth =
        u32::try_from(bitwidth).map_err(|_| cx.bad_setting("bitwidth", format!("is {bitwidth}")))?;
    let [range_min, range_max] = [cx.weight(&["range_min"], 0)?, cx.weight(&["range_max"], 1)?].map(entries);
    let quantizer = InputQuantizer { bitwidth, signed: cx.flag("signed", true)?, range_min, range_max };
    let channels = layout.axis(rank.saturating_sub(1), rank);
    let attrs = input_attrs(&quantizer, channels).map_err(|error| {
        Fault::from(OpError::FixedPoint { op: "to_fixed_point".to_owned(), error: error.into() })
    })?;
    let y = cx.op("quantize", "to_fixed_point", attrs, &[value])?;
    Ok(cx.made(layout, y))
}

/// Floats of each value again; those that are floats stay.
pub fn dequantizer(cx: &mut Cx) -> Made<Vec<At>> {
    let mut made = Vec::new();
    for at in cx.values() {
        let (value, layout) = cx.held(at);
        if cx.type_of(value).grid.fixed().is_none() {
            made.push(at);
            continue;
        }
        let y = cx.op("dequantize", "to_float", Attrs::new(), &[value])?;
        made.push(cx.made(layout, y));
    }
    Ok(made)
}
