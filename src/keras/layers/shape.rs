//! Layers that move elements.

use super::window::map;
use crate::ir::Attrs;
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout, same_order};
use crate::ops::OnnxAttr;
use crate::tensor::Tensor;

/// Elements before and behind each of `spatial` axes.
fn margins(cx: &Cx, name: &str, spatial: usize) -> Made<Vec<[i64; 2]>> {
    let bad = || cx.bad_setting(name, format!("is not two sizes for each of {spatial} axes"));
    let json = cx.setting(name).ok_or_else(bad)?;
    let size =
        |json: &serde_json::Value| json.as_u64().and_then(|size| i64::from(u32::try_from(size).ok()?).into());
    let pair = |json: &serde_json::Value| -> Option<[i64; 2]> {
        match json.as_array().map(Vec::as_slice) {
            Some([before, behind]) => Some([size(before)?, size(behind)?]),
            Some(_) => None,
            None => size(json).map(|size| [size, size]),
        }
    };
    let found: Option<Vec<[i64; 2]>> = match json.as_array() {
        None => size(json).map(|size| vec![[size, size]; spatial]),
        // One axis may have its pair without a list around it.
        Some(list) if spatial == 1 && list.iter().all(|json| json.is_u64()) => {
            pair(json).map(|pair| vec![pair])
        }
        Some(list) => list.iter().map(pair).collect(),
    };
    found.filter(|found| found.len() == spatial).ok_or_else(bad)
}

pub fn zero_padding(cx: &mut Cx, spatial: usize) -> Made<At> {
    let margins = margins(cx, "padding", spatial)?;
    let at = cx.only()?;
    let layout = if cx.channels_first()? { Layout::Last } else { Layout::First };
    let x = cx.get(at, layout)?;
    let side = |side: usize| [0, 0].into_iter().chain(margins.iter().map(move |pair| pair[side]));
    let attrs = Attrs::new().with("pads", side(0).chain(side(1)).collect::<Vec<i64>>());
    let y = cx.op("pad", "pad", attrs, &[x])?;
    Ok(cx.made(layout, y))
}

pub fn cropping(cx: &mut Cx, spatial: usize) -> Made<At> {
    let margins = margins(cx, "cropping", spatial)?;
    let at = cx.only()?;
    let layout = if cx.channels_first()? { Layout::Last } else { Layout::First };
    let x = cx.get(at, layout)?;
    let shape = cx.type_of(x).shape.clone();
    let (mut starts, mut sizes) = (Vec::new(), Vec::new());
    for ([before, behind], dim) in margins.iter().zip(shape.iter().skip(2)) {
        let size = dim.fixed().ok_or_else(|| cx.open_size("the sizes of its map"))?;
        // Sizes of tensors fit.
        let left = size as i64 - before - behind;
        if left < 1 {
            return Err(cx.bad_setting("cropping", format!("leaves nothing of {size}")));
        }
        starts.push(*before);
        sizes.push(left);
    }
    let axes: Vec<i64> = (2..2 + starts.len() as i64).collect();
    let attrs = Attrs::new()
        .with("steps", vec![1i64; axes.len()])
        .with("axes", axes)
        .with("starts", starts)
        .with("sizes", sizes);
    let y = cx.op("slice", "slice", attrs, &[x])?;
    Ok(cx.made(layout, y))
}

pub fn up_sampling(cx: &mut Cx) -> Made<At> {
    let map = map(cx, 2)?;
    let factors = cx.sizes("size", 2)?.unwrap_or_else(|| vec![2, 2]);
    let y = match cx.text("interpolation", "nearest")? {
        "nearest" => cx.op("upsample", "upsample2d", Attrs::new().with("factors", factors), &[map.value])?,
        "bilinear" => {
            let scales = [1.0, 1.0].into_iter().chain(factors.iter().map(|&factor| factor as f32));
            let scales = cx.constant("scales", Tensor::vector(scales.collect::<Vec<f32>>()));
            let attrs = [
                ("mode", OnnxAttr::Str("linear".to_owned())),
                ("coordinate_transformation_mode", OnnxAttr::Str("half_pixel".to_owned())),
            ];
            cx.onnx("Resize", 13, attrs, &[Some(map.value), None, Some(scales)])?
        }
        other => return Err(cx.bad_setting("interpolation", format!("is `{other}`"))),
    };
    map.result(cx, y)
}

/// A value whose elements are in Keras's order, whatever its axes are.
pub fn in_order(cx: &mut Cx, at: At) -> Made<crate::ir::ValueId> {
    let (value, layout) = cx.held(at);
    if same_order(&cx.type_of(value).shape, layout) { Ok(value) } else { cx.get(at, Layout::Last) }
}

pub fn flatten(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    let y = match rank {
        1 => {
            let (x, _) = cx.held(at);
            cx.op("flatten", "unsqueeze", Attrs::new().with("axes", vec![1]), &[x])?
        }
        2 => return Ok(at),
        _ => {
            let x = if cx.channels_first()? {
                // The channels go behind all else before they are flattened.
                let x = cx.get(at, Layout::Last)?;
                let perm: Vec<i64> = [0].into_iter().chain(2..rank as i64).chain([1]).collect();
                cx.op("transpose", "transpose", Attrs::new().with("perm", perm), &[x])?
            } else {
                in_order(cx, at)?
            };
            cx.op("flatten", "flatten", Attrs::new(), &[x])?
        }
    };
    Ok(cx.made(Layout::Last, y))
}

pub fn reshape(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let sizes = cx.ints("target_shape")?.ok_or_else(|| cx.bad_setting("target_shape", "is missing"))?;
    reshape_to(cx, at, &sizes, "target_shape")
}

/// The elements of each sample under other sizes, one of which may be left over.
pub fn reshape_to(cx: &mut Cx, at: At, sizes: &[i64], setting: &str) -> Made<At> {
    if sizes.iter().any(|&size| size == 0 || size < -1) {
        return Err(cx.bad_setting(setting, format!("is {sizes:?}")));
    }
    let x = in_order(cx, at)?;
    // A map of one position has the same elements where its channels are wanted.
    let position = sizes.len() == 3 && sizes[..2] == [1, 1];
    let mut shape = vec![0];
    let layout = if position {
        shape.extend(sizes.last());
        shape.extend(&sizes[..sizes.len() - 1]);
        Layout::First
    } else {
        shape.extend(sizes);
        Layout::Last
    };
    let y = cx.op("reshape", "reshape", Attrs::new().with("shape", shape), &[x])?;
    Ok(cx.made(layout, y))
}

pub fn permute(cx: &mut Cx) -> Made<At> {
    let at = cx.only()?;
    let dims = cx.ints("dims")?.unwrap_or_default();
    let perm: Vec<i64> = [0].into_iter().chain(dims).collect();
    permute_to(cx, at, &perm, "dims")
}

/// The axes of a value in another order: one transpose, whichever layout the value has.
pub fn permute_to(cx: &mut Cx, at: At, perm: &[i64], setting: &str) -> Made<At> {
    let (x, layout) = cx.held(at);
    let rank = cx.rank(at);
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank as i64) {
        return Err(cx.bad_setting(setting, format!("is {perm:?}, for a value of {rank} axes")));
    }
    // Each is an axis by now.
    let turned: Vec<i64> = perm.iter().map(|&axis| layout.axis(axis as usize, rank) as i64).collect();
    if turned.iter().copied().eq(0..rank as i64) {
        return Ok(cx.made(Layout::Last, x));
    }
    let y = cx.op("transpose", "transpose", Attrs::new().with("perm", turned), &[x])?;
    Ok(cx.made(Layout::Last, y))
}
