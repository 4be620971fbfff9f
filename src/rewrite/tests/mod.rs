//! Rules on graphs.

mod activations;
mod bounds;
mod cases;
mod cleanup;
mod constants;
mod fold_batchnorm;
mod fuse;
mod kernels;
mod language;
mod layers;
mod linear;
mod movement;
mod nearly;
mod pairs;
mod pooling;
mod quantizeml;
mod whole;

use std::collections::BTreeMap;

use super::*;
use crate::diag::{Sources, render};
use crate::interp::Plan;
use crate::ir::Kind;
use crate::ops::Arithmetic;
use crate::syntax::qir;
use crate::tensor::{DType, Tensor};
use crate::verify::verify;

/// Numbers like those of a trained network, the same on every run.
struct Noise(u64);

impl Noise {
    /// A multiple of 1/64 in [-1, 1).
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) % 128) as f32 / 64.0 - 1.0
    }
}

fn shown(found: &Diagnostics, sources: &Sources) -> String {
    found.0.iter().map(|finding| render(finding, sources, false)).collect()
}

/// A graph from the lines of its body. Constants `@name : f32[…]` are filled with noise, those
/// whose name has `pos` in it with positive noise, those with `one`, `half`, `root`, `sixth`, `three`, `rootpi` or `cubic` in it with that number
/// of an activation; other data is written out.
fn graph(signature: &str, body: &str) -> Graph {
    let mut text = format!("qir 1\n\ngraph @g{signature} {{\n{body}\n}}\n");
    let mut noise = Noise(7);
    for line in body.lines() {
        let Some((_, declared)) = line.split_once("const @") else { continue };
        let Some((name, ty)) = declared.split_once(':') else { continue };
        let sizes = ty.trim().trim_start_matches("f32[").trim_end_matches(']');
        let count: usize = sizes
            .split(',')
            .filter(|s| !s.trim().is_empty())
            .map(|s| s.trim().parse::<usize>().expect("a size"))
            .product();
        let values: Vec<String> = (0..count)
            .map(|_| {
                let value = noise.next();
                match name {
                    name if name.contains("one") => "1".to_owned(),
                    name if name.contains("half") => "0.5".to_owned(),
                    name if name.contains("rootpi") => "0.7978846".to_owned(),
                    name if name.contains("root") => "0.70710677".to_owned(),
                    name if name.contains("sixth") => "0.16666667".to_owned(),
                    name if name.contains("three") => "3".to_owned(),
                    name if name.contains("cubic") => "0.044715".to_owned(),
                    name if name.contains("pos") => (value.abs() + 0.25).to_string(),
                    _ => value.to_string(),
                }
            })
            .collect();
        let name = name.trim();
        if !text.contains(&format!("data @{name} ")) {
            text += &format!("data @{name} : {} = [{}]\n", ty.trim(), values.join(", "));
        }
    }
    let (mut sources, registry) = (Sources::default(), Registry::built_in());
    let source = sources.add("test.qir", text.as_str()).expect("is small");
    let parsed = qir::parse(&text, source, &registry, &mut |_| Err(std::io::ErrorKind::NotFound.into()));
    let graph = parsed.unwrap_or_else(|found| panic!("{}", shown(&found, &sources)));
    if let Err(found) = verify(&graph, &registry) {
        panic!("{}", shown(&found, &sources));
    }
    graph
}

/// The sets of built-in files.
fn sets(names: &[&str]) -> Vec<Ruleset> {
    let (mut sources, registry) = (Sources::default(), Registry::built_in());
    let mut sets = Vec::new();
    for name in names {
        match built_in(&mut sources, &registry, name).expect("is built in") {
            Ok(loaded) => sets.extend(loaded),
            Err(found) => panic!("{}", shown(&found, &sources)),
        }
    }
    sets
}

/// A set from text: the members of a ruleset `test`.
fn rules(members: &str) -> Vec<Ruleset> {
    let text = format!("ruleset test {{\n{members}\n}}\n");
    let (mut sources, mut registry) = (Sources::default(), Registry::built_in());
    let read = &mut |_: &std::path::Path| Err("no files".to_owned());
    match load(&mut sources, &mut registry, &[("test.qrules", &text)], read) {
        Ok(loaded) => loaded.sets,
        Err(found) => panic!("{}", shown(&found, &sources)),
    }
}

/// Applies rules; the result verifies.
fn run(before: &Graph, sets: &[Ruleset], options: &Options) -> (Graph, Log) {
    let registry = Registry::built_in();
    let (after, log) = apply(before.clone(), &registry, sets, options).expect("rules run");
    if let Err(found) = verify(&after, &registry) {
        panic!("{found:?}\n{}", print(&after));
    }
    (after, log)
}

fn print(graph: &Graph) -> String {
    qir::print(graph, &Registry::built_in(), "data.safetensors").qir
}

/// The operators in canonical order.
fn ops(graph: &Graph) -> Vec<String> {
    graph.order().into_iter().filter_map(|id| graph.node(id).op().map(str::to_owned)).collect()
}

/// The outputs on noise.
fn outputs(graph: &Graph) -> Vec<Tensor> {
    let registry = Registry::built_in();
    let plan = Plan::new(graph, &registry, Arithmetic::Exact).expect("constants evaluate");
    let mut noise = Noise(3);
    let feeds: BTreeMap<String, Tensor> = graph
        .inputs()
        .map(|input| {
            let value = graph.value(input);
            let sizes: Vec<usize> = value.ty.shape.iter().map(|dim| dim.fixed().unwrap_or(2)).collect();
            let floats: Vec<f32> = (0..sizes.iter().product()).map(|_| noise.next() * 4.0).collect();
            let tensor = match value.ty.storage() {
                DType::I32 => Tensor::new(&sizes, floats.iter().map(|v| *v as i32).collect()),
                _ => Tensor::new(&sizes, floats),
            };
            (value.name.to_string(), tensor.expect("sizes fit"))
        })
        .collect();
    plan.run(&feeds, &mut |_, _| {}).expect("runs")
}

/// Largest difference of the outputs of two graphs, relative to the largest output.
fn difference(a: &Graph, b: &Graph) -> f32 {
    let (a, b) = (outputs(a), outputs(b));
    assert_eq!(a.len(), b.len());
    let mut worst = 0.0f32;
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.sizes(), b.sizes());
        assert_eq!(a.dtype(), DType::F32);
        let (a, b) = (a.elements::<f32>().expect("is f32"), b.elements::<f32>().expect("is f32"));
        let largest = a.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        for (x, y) in a.iter().zip(b) {
            worst = worst.max((x - y).abs() / largest);
        }
    }
    worst
}
