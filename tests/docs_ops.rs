//! `docs/ops.md` says what the schemas say. `QIRC_BLESS=1 cargo test --test docs_ops` rewrites it.

use std::fmt::Write as _;
use std::path::Path;

use qirc::diag::Loc;
use qirc::ir::{Attr, Graph};
use qirc::ops::{Accuracy, Builder, Default, Operator, Presence, Quantize, Registry, Schema};
use qirc::syntax::qir::print;

const INTRODUCTION: &str = "\
# Operators

What each operator computes, and what must hold for its operands. This page is made from the schemas
of the operators: `QIRC_BLESS=1 cargo test --test docs_ops` writes it anew.

* `x?` marks an operand that may be absent, `x…` one that may be given several times, and `y…` a result of
  which there may be several. An attribute without a default must be given; `optional` means that its absence
  says something of its own.
* Constraints are numbered; a diagnostic names the one that does not hold (`C2`). `C0` is about lists of
  sizes among the attributes, none of which is larger than 2^24.
* A type is *plain* if its elements stand for themselves, and not for reals on a grid.
* Float operators compute in the storage of their operands, f32 or f64, and give the same bits on every
  CPU. *Exact* means that no element is rounded, *rounding* that each may be.
* Attributes that ONNX gives as operands, like the axes of Squeeze, must be known when a file is read: constants, or
  what follows from constants and known sizes; for `qirc run`, lists and numbers that it is given, too.
* `N` is a size that is known only when the network runs. Operators pass such sizes on; one that would have
  to compute with it says so, and the size must be stated with `--input-shape`.
";

fn operands(schema: &Schema) -> String {
    let operand = |spec: &qirc::ops::OperandSpec| match spec.presence {
        Presence::Required => format!("%{}", spec.name),
        Presence::Optional => format!("%{}?", spec.name),
        Presence::Variadic => format!("%{}…", spec.name),
    };
    schema.operands.iter().map(operand).collect::<Vec<_>>().join(", ")
}

fn list<T: std::fmt::Debug>(items: &[T]) -> String {
    format!("{items:?}")
}

fn value(attr: &Attr) -> String {
    match attr {
        Attr::Bool(v) => v.to_string(),
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => format!("{v:?}"),
        Attr::Str(v) => format!("{v:?}"),
        Attr::DType(v) => v.to_string(),
        Attr::Ints(v) => list(v),
        Attr::Floats(v) => list(v),
    }
}

/// The first example as a graph.
fn example(registry: &Registry, schema: &Schema, operator: &dyn Operator) -> String {
    let example = operator.examples().remove(0);
    let mut graph = Graph::new("example");
    let operands = example
        .operands
        .iter()
        .enumerate()
        .map(|(position, tensor)| {
            let name = schema
                .operands
                .get(position)
                .map_or_else(|| format!("x{position}"), |spec| spec.name.to_string());
            tensor.as_ref().map(|tensor| graph.add_input(&name, tensor.tensor_type(), Loc::unknown()))
        })
        .collect();
    let mut builder = Builder { graph: &mut graph, registry, loc: Loc::unknown() };
    let node = builder.node(&schema.name, example.attrs, operands, "y").expect("examples are well typed");
    for result in 0..graph.node(node).results.len() as u32 {
        let value = qirc::ir::ValueId { node, result };
        graph.add_output(graph.value(value).name.clone(), value);
    }
    print(&graph, registry, "example.safetensors").qir
}

fn section(
    registry: &Registry,
    schema: &Schema,
    operator: &dyn Operator,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(out, "\n### {}\n", schema.name)?;
    let many = if schema.any_results { "…" } else { "" };
    let results: Vec<String> = schema.results.iter().map(|result| format!("%{result}{many}")).collect();
    writeln!(out, "    {} = {} {}\n", results.join(", "), schema.name, operands(schema))?;
    writeln!(out, "{}\n", schema.doc)?;
    if !schema.attrs.is_empty() {
        writeln!(out, "| attribute | kind | default |\n|---|---|---|")?;
        for spec in &schema.attrs {
            let default = match &spec.default {
                Default::Required => String::new(),
                Default::Absent => "optional".to_owned(),
                Default::Value(attr) => format!("`{}`", value(attr)),
            };
            writeln!(out, "| `{}` | {} | {default} |", spec.name, spec.kind.name())?;
        }
        writeln!(out)?;
    }
    let accuracy = match schema.accuracy {
        Accuracy::Exact => "Exact.",
        Accuracy::Rounding => "Rounding.",
    };
    match operator.quantize() {
        Quantize::No(reason) => writeln!(out, "{accuracy} Quantization: {reason}.")?,
        Quantize::FixedPoint(_) => {
            writeln!(out, "{accuracy} Quantization: a layer of the scheme fixed-point.")?
        }
        Quantize::Layer(_) => writeln!(out, "{accuracy} Quantization: a device layer.")?,
    }
    let mut lifts: Vec<String> = Vec::new();
    for lift in operator.lifts() {
        let domain = if lift.domain.is_empty() { String::new() } else { format!("{}.", lift.domain) };
        lifts.push(format!("`{domain}{}` since opset {}", lift.op_type, lift.since()));
    }
    match lifts.len() {
        0 => {}
        1..=8 => writeln!(out, "Read from ONNX {}.", lifts.join(", "))?,
        more => {
            writeln!(out, "Read from {more} op_types of ONNX, from {} to {}.", lifts[0], lifts[more - 1])?
        }
    }
    writeln!(out, "\n```qir\n{}```", example(registry, schema, operator))
}

#[test]
fn docs_say_what_the_schemas_say() {
    let registry = Registry::built_in();
    let mut text = INTRODUCTION.to_owned();
    let kind = |schema: &Schema, operator: &dyn Operator| match operator.quantize() {
        Quantize::FixedPoint(_) => "Layers of QuantizeML",
        _ if schema.layer => "Device layers",
        _ if schema.name.starts_with("fixed_") => "Operations on fixed-point numbers",
        _ => "Standard operators",
    };
    for title in
        ["Standard operators", "Device layers", "Layers of QuantizeML", "Operations on fixed-point numbers"]
    {
        writeln!(text, "\n## {title}").unwrap();
        for entry in registry.iter().filter(|entry| kind(&entry.schema, &*entry.operator) == title) {
            section(&registry, &entry.schema, &*entry.operator, &mut text).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ops.md");
    if std::env::var_os("QIRC_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let different = text.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        found == text,
        "docs/ops.md differs from the schemas at line {}: run `QIRC_BLESS=1 cargo test --test docs_ops`",
        different.unwrap_or_else(|| found.lines().count().min(text.lines().count())) + 1
    );
}
