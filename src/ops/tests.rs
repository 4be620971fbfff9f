//! What holds for every operator.

use super::testing::{labels, lower};
use super::{Arithmetic, Lowered, Quantize, Registry};
use crate::tensor::Tensor;

/// The sources of all families, so that a constraint without a check shows.
fn sources() -> Vec<String> {
    fn collect(directory: &std::path::Path, sources: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, sources);
            } else {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut sources = Vec::new();
    collect(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), &mut sources);
    sources
}

#[test]
fn every_operator_has_a_formula_and_checks_its_constraints() {
    let sources = sources();
    for entry in Registry::built_in().iter() {
        let (name, doc) = (&entry.schema.name, &entry.schema.doc);
        let formula = doc.split("\n\n").next().unwrap();
        assert!(formula.contains('`'), "{name} has no formula: {formula}");
        let labels = labels(&entry.schema);
        assert!(labels.is_empty() != doc.contains("\n* "), "{name} has constraints without labels");
        let quoted = format!("\"{name}\"");
        let home = |source: &&String| {
            source.contains(&quoted)
                && labels.iter().all(|label| label == "C0" || source.contains(&format!("\"{label}\"")))
        };
        assert!(
            sources.iter().any(|source| home(&source)),
            "{name} documents a constraint that it does not check"
        );
        for operand in &entry.schema.operands {
            assert!(doc.contains(&*operand.name), "{name} does not say what {} is", operand.name);
        }
        for attr in &entry.schema.attrs {
            assert!(doc.contains(&*attr.name), "{name} does not say what {} is", attr.name);
        }
        match entry.operator.quantize() {
            Quantize::No(reason) => assert!(!reason.is_empty(), "{name} stays float for no reason"),
            Quantize::Layer(_) => assert!(entry.schema.layer, "{name} is quantized but is not a layer"),
        }
    }
}

#[test]
fn every_example_evaluates_as_inferred_and_lowers() {
    let registry = Registry::built_in();
    for entry in registry.iter() {
        let name = &entry.schema.name;
        let examples = entry.operator.examples();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let attrs = registry.complete(name, example.attrs.clone()).unwrap();
            let types: Vec<_> =
                example.operands.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
            let inferred = registry.infer(name, &attrs, &types).unwrap();
            let results = registry.eval(name, &attrs, &example.operands, Arithmetic::Exact).unwrap();
            assert_eq!(inferred.len(), results.len(), "{name}");
            for (ty, tensor) in inferred.iter().zip(&results) {
                assert!(
                    ty.shape.admits(tensor.sizes()),
                    "{name}: {} is not {}",
                    tensor.tensor_type().shape,
                    ty.shape
                );
                assert_eq!(ty.storage(), tensor.dtype(), "{name}");
            }
            // Files have layers in their integer form only.
            let float = |tensor: &Option<Tensor>| tensor.as_ref().is_some_and(|t| t.dtype().is_float());
            if entry.schema.layer && example.operands.first().is_some_and(float) {
                continue;
            }
            let (lowered, _) = lower(name, example.attrs, &example.operands);
            let nodes = match lowered {
                Lowered::Nodes(nodes) => nodes,
                Lowered::Layer { node, .. } => vec![node],
            };
            let made: Vec<&String> = nodes.iter().flat_map(|node| &node.outputs).collect();
            assert!(
                (0..results.len()).all(|i| made.contains(&&format!("y{i}"))),
                "{name} lowers to {made:?}"
            );
        }
    }
}

#[test]
fn every_onnx_operator_is_lifted_once() {
    let mut seen = std::collections::BTreeSet::new();
    for entry in Registry::built_in().iter() {
        for lift in entry.operator.lifts() {
            assert!(seen.insert((lift.domain, lift.op_type.to_string())), "{} is lifted twice", lift.op_type);
            assert!(lift.since >= 1);
        }
    }
}
