//! Pools.

use super::window::{Map, Windows, map};
use crate::ir::Attrs;
use crate::keras::cx::{Cx, Made};
use crate::keras::values::{At, Layout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Max,
    Average,
}

/// Attributes of a pool.
pub fn geometry(cx: &Cx, map: &Map) -> Made<Attrs> {
    let spatial = map.spatial;
    let size = cx.sizes("pool_size", spatial)?.unwrap_or_else(|| vec![2; spatial]);
    let strides = cx.sizes("strides", spatial)?.unwrap_or_else(|| size.clone());
    let windows = Windows {
        dilations: vec![1; spatial.max(2)],
        kernel: map.axes(size, 1),
        strides: map.axes(strides, 1),
    };
    let pads = windows.pads(cx, map, cx.text("padding", "valid")?)?;
    let mut attrs =
        Attrs::new().with("kernel_shape", windows.kernel).with("strides", windows.strides).with("pads", pads);
    if spatial == 3 {
        attrs.set("dilations", windows.dilations);
    }
    Ok(attrs)
}

pub fn pool(cx: &mut Cx, spatial: usize, kind: Kind) -> Made<At> {
    let map = map(cx, spatial)?;
    let attrs = geometry(cx, &map)?;
    // An average is over elements of the map only, which is what the operators do, too.
    let op = match (kind, spatial) {
        (Kind::Max, 3) => "max_pool",
        (Kind::Average, 3) => "avg_pool",
        (Kind::Max, _) => "max_pool2d",
        (Kind::Average, _) => "avg_pool2d",
    };
    let y = cx.op("pool", op, attrs, &[map.value])?;
    map.result(cx, y)
}

pub fn global(cx: &mut Cx, spatial: usize, kind: Kind) -> Made<At> {
    let at = cx.only()?;
    let rank = cx.rank(at);
    if rank != spatial + 2 {
        return Err(cx.bad_call(format!("gives it a value of {rank} axes instead of {}", spatial + 2)));
    }
    // A layer over channels first sees them where the operator does.
    let layout = if cx.channels_first()? { Layout::Last } else { Layout::First };
    let keepdims = cx.flag("keepdims", false)?;
    let x = cx.get(at, layout)?;
    let axes: Vec<i64> = (2..rank as i64).collect();
    let over = |keepdims: bool| Attrs::new().with("axes", axes.clone()).with("keepdims", keepdims);
    let y = match (kind, spatial) {
        (Kind::Max, _) => cx.op("pool", "reduce_max", over(keepdims), &[x])?,
        (Kind::Average, 2) => {
            let y = cx.op("pool", "global_avg_pool2d", Attrs::new(), &[x])?;
            cx.main = Some(y);
            if keepdims { y } else { cx.op("flatten", "flatten", Attrs::new(), &[y])? }
        }
        (Kind::Average, _) => cx.op("pool", "reduce_mean", over(keepdims), &[x])?,
    };
    Ok(cx.made(if keepdims { layout } else { Layout::Last }, y))
}
