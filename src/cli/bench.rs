//! `qirc bench`: how long a network takes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::args::BenchArgs;
use super::commands::read_network;
use super::session::{End, Session, say};
use crate::diag::{Diagnostics, printable};
use crate::interp::Plan;
use crate::ir::NodeId;
use crate::ops::Arithmetic;

pub fn bench(session: &mut Session, args: &BenchArgs) -> Result<(), End> {
    let (graph, feeds) = read_network(session, &args.model, &args.input)?;
    let plan = Plan::new(&graph, &session.registry, Arithmetic::Exact).map_err(Diagnostics::from)?;
    let (mut nodes, mut totals): (Vec<(NodeId, Vec<Duration>)>, Vec<Duration>) = Default::default();
    let mut peak = 0;
    // The first run warms up: it makes the buffers.
    for run in 0..=args.repeat.get() {
        let (mut at, start) = (0, Instant::now());
        let mut before = start;
        let outputs = plan.measure(&feeds, &mut |id, bytes| {
            let now = Instant::now();
            if run == 0 {
                nodes.push((id, Vec::new()));
            } else if let Some((_, times)) = nodes.get_mut(at) {
                times.push(now - before);
            }
            (at, peak) = (at + 1, peak.max(bytes));
            before = now;
        });
        outputs.map_err(Diagnostics::from)?;
        if run > 0 {
            totals.push(start.elapsed());
        }
    }
    let total = Times::of(totals);
    let name = |id: &NodeId| {
        let node = graph.node(*id);
        node.results.first().map_or("", |value| &*value.name)
    };
    let op = |id: &NodeId| graph.node(*id).op().unwrap_or_default();
    let layers: Vec<(&str, &str, Times)> =
        nodes.iter().map(|(id, times)| (name(id), op(id), Times::of(times.clone()))).collect();
    let peak = peak + plan.prepared_bytes();
    if args.json {
        let times = |times: &Times| json!({"min_ms": times.least, "median_ms": times.median});
        let layer = |(name, op, of): &(&str, &str, Times)| json!({"name": name, "op": op, "min_ms": of.least, "median_ms": of.median});
        let report = json!({
            "threads": rayon::current_num_threads(),
            "repeat": args.repeat.get(),
            "total": times(&total),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
            "peak_bytes": peak,
        });
        return Ok(say(report)?);
    }
    let width = layers.iter().map(|(name, ..)| printable(name).chars().count()).max().unwrap_or(0).max(5);
    let ops = layers.iter().map(|(_, op, _)| op.len()).max().unwrap_or(0).max(2);
    say(format!("{:width$}  {:ops$}  {:>10}  {:>10}", "layer", "op", "min ms", "median ms"))?;
    for (name, op, times) in &layers {
        let Times { least, median } = times;
        say(format!("{:width$}  {op:ops$}  {least:>10.3}  {median:>10.3}", printable(name)))?;
    }
    let Times { least, median } = total;
    say(format!("{:width$}  {:ops$}  {least:>10.3}  {median:>10.3}", "total", ""))?;
    let threads = match rayon::current_num_threads() {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    let megabytes = peak as f64 / 1e6;
    say(format!("{} runs on {threads}, {megabytes:.1} MB of values and laid out constants", args.repeat))?;
    Ok(())
}

/// Milliseconds.
struct Times {
    least: f64,
    median: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        Times { least: milliseconds(times.first()), median: milliseconds(times.get(times.len() / 2)) }
    }
}
