//! What holds for every operator.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;

use super::testing::{labels, lower};
use super::{Arithmetic, AttrSpec, Lowered, Quantize, Registry};
use crate::ir::{Attr, AttrKind, Attrs};
use crate::tensor::{AffineGrid, DType, Dim, FixedGrid, Grid, Shape, Tensor, TensorType};

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
        // What all layers of QuantizeML have in common is checked for all of them, and so are operations on its numbers.
        let shared: &[&str] = match entry.operator.quantize() {
            Quantize::FixedPoint(_) => &["C1", "C2"],
            _ if name.starts_with("fixed_") => &["C1", "C2", "C3"],
            _ => &[],
        };
        let checked = |source: &str, label: &str| {
            label == "C0" || source.contains(&format!("\"{label}\"")) || shared.contains(&label)
        };
        let home =
            |source: &&String| source.contains(&quoted) && labels.iter().all(|label| checked(source, label));
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
            Quantize::FixedPoint(_) => assert!(!entry.schema.layer, "{name} is no layer of the device"),
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
            assert!(
                seen.insert((lift.domain.to_string(), lift.op_type.to_string())),
                "{} is lifted twice",
                lift.op_type
            );
            assert!(lift.since() >= 1);
        }
    }
}

#[test]
fn results_that_no_memory_holds_are_refused() {
    let attrs = crate::ir::Attrs::new().with("pads", vec![0i64, 0, 0, 0, 0, 0, 1 << 30, 1 << 30]);
    let x = Tensor::new(&[1, 1, 1, 1], vec![1.0f32]);
    let registry = Registry::built_in();
    let attrs = registry.complete("pad", attrs).unwrap();
    let error = registry.eval("pad", &attrs, &[x], Arithmetic::Exact).unwrap_err();
    assert!(error.to_string().contains("no memory"), "{error}");
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::built_in);

fn dim() -> impl Strategy<Value = Dim> {
    prop_oneof![
        8 => (1usize..4).prop_map(Dim::Fixed),
        1 => select(vec![0, usize::MAX, 1 << 32, 1 << 62]).prop_map(Dim::Fixed),
        1 => Just(Dim::Symbol("N".into())),
    ]
}

/// Types that often fit together: one storage and few sizes.
fn operands() -> impl Strategy<Value = Vec<Option<TensorType>>> {
    let storage =
        select(vec![DType::F32, DType::F32, DType::F64, DType::I8, DType::U8, DType::I32, DType::I64]);
    let odd = select(DType::ALL.to_vec());
    let shape = (select(vec![0usize, 1, 1, 2, 3, 4, 4, 5]), prop::collection::vec(dim(), 5))
        .prop_map(|(rank, dims)| Shape::new(dims.into_iter().take(rank)));
    let one = (
        shape,
        prop::option::weighted(0.1, odd),
        prop::option::weighted(0.1, 1usize..4),
        prop::bool::weighted(0.9),
    );
    (storage, prop::collection::vec(one, 0..8)).prop_map(|(storage, operands)| {
        let operand = |(shape, odd, factors, present): (Shape, Option<DType>, Option<usize>, bool)| {
            let mut ty = TensorType::new(odd.unwrap_or(storage), shape);
            if let Some(factors) = factors {
                ty.grid = Grid::Affine(AffineGrid::hardware(ty.storage(), vec![2.0; factors]));
            }
            present.then_some(ty)
        };
        operands.into_iter().map(operand).collect()
    })
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -1i64..4, 1 => any::<i64>()]
}

fn attr(kind: AttrKind) -> BoxedStrategy<Attr> {
    match kind {
        AttrKind::Bool => any::<bool>().prop_map(Attr::Bool).boxed(),
        AttrKind::Int => int().prop_map(Attr::Int).boxed(),
        AttrKind::Float => (-2.0f32..9.0).prop_map(Attr::Float).boxed(),
        AttrKind::Str => select(vec!["none", "MaxPool", "GlobalAvgPool", "ReLU", "ReLUClipped", "?"])
            .prop_map(Attr::from)
            .boxed(),
        AttrKind::DType => select(DType::ALL.to_vec()).prop_map(Attr::DType).boxed(),
        AttrKind::Ints => prop::collection::vec(int(), 0..9).prop_map(Attr::from).boxed(),
        AttrKind::Floats => prop::collection::vec(-2.0f32..9.0, 0..5).prop_map(Attr::from).boxed(),
    }
}

type Application = (String, Attrs, Vec<Option<TensorType>>);

/// An operator with any attributes, each given or not, and any operands.
fn anything() -> impl Strategy<Value = Application> {
    let ops: Vec<_> = REGISTRY.iter().map(|entry| entry.schema.clone()).collect();
    select(ops).prop_flat_map(|schema| {
        let given = |spec: &AttrSpec| {
            let name = spec.name.to_string();
            prop::option::weighted(0.7, attr(spec.kind)).prop_map(move |attr| (name.clone(), attr))
        };
        let attrs: Vec<_> = schema.attrs.iter().map(given).collect();
        (attrs, operands()).prop_map(move |(attrs, operands)| {
            let attrs = attrs.into_iter().filter_map(|(name, attr)| Some((name.as_str().into(), attr?)));
            (schema.name.to_string(), attrs.collect(), operands)
        })
    })
}

/// Operands of a layer of QuantizeML's integer form: a value, and parameters with scales.
fn on_grids(types: &[Option<TensorType>]) -> Vec<Option<TensorType>> {
    let on_grid = |(at, ty): (usize, &Option<TensorType>)| {
        let ty = ty.as_ref()?;
        let value_bits = if at == 0 { 7 } else { 5 };
        let grid = FixedGrid {
            storage: FixedGrid::storage_of(value_bits),
            value_bits,
            frac_bits: [3 - 3 * at.min(1) as i32].into(),
            scales: (at > 0).then(|| [0.25].into()),
            axis: None,
        };
        Some(TensorType { shape: ty.shape.clone(), grid: Grid::Fixed(grid) })
    };
    types.iter().enumerate().map(on_grid).collect()
}

/// An example with some of its attributes and sizes changed.
fn nearly_an_example() -> impl Strategy<Value = Application> {
    let mut examples: Vec<Application> = Vec::new();
    for entry in REGISTRY.iter() {
        for example in entry.operator.examples() {
            let attrs = REGISTRY.complete(&entry.schema.name, example.attrs).unwrap();
            let types: Vec<_> =
                example.operands.iter().map(|tensor| tensor.as_ref().map(Tensor::tensor_type)).collect();
            let layer = matches!(entry.operator.quantize(), Quantize::FixedPoint(_));
            if layer || entry.schema.name.starts_with("fixed_") {
                examples.push((entry.schema.name.to_string(), attrs.clone(), on_grids(&types)));
            }
            examples.push((entry.schema.name.to_string(), attrs, types));
        }
    }
    select(examples).prop_flat_map(|(op, attrs, operands)| {
        let changed = |(name, value): (&str, &Attr)| {
            let (name, value) = (name.to_owned(), value.clone());
            prop::option::weighted(0.1, attr(value.kind()))
                .prop_map(move |new| (name.as_str().into(), new.unwrap_or(value.clone())))
        };
        let attrs: Vec<_> = attrs.iter().map(changed).collect();
        let sizes = prop::collection::vec(prop::option::weighted(0.05, dim()), 32);
        (attrs, sizes).prop_map(move |(attrs, sizes)| {
            let mut sizes = sizes.into_iter();
            let mut changed = |ty: &TensorType| {
                ty.with_shape(Shape::new(
                    ty.shape.iter().map(|dim| sizes.next().flatten().unwrap_or(dim.clone())),
                ))
            };
            let operands = operands.iter().map(|ty| ty.as_ref().map(&mut changed)).collect();
            (op.clone(), attrs.into_iter().collect(), operands)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever an operator is applied to, it says what is wrong or keeps its word: the result is
    /// of the inferred type. Unknown sizes are 2 when it runs, which the inferred shape admits.
    #[test]
    fn no_application_panics((op, attrs, operands) in prop_oneof![anything(), nearly_an_example()]) {
        let registry = &*REGISTRY;
        let Ok(attrs) = registry.complete(&op, attrs) else { return Ok(()) };
        let Ok(inferred) = registry.infer(&op, &attrs, &operands) else { return Ok(()) };
        let entry = registry.get(&op).unwrap();
        entry.operator.macs(&super::Call { schema: &entry.schema, attrs: &attrs, operands: &operands });
        let sizes = |ty: &TensorType| -> Vec<usize> { ty.shape.iter().map(|dim| dim.fixed().unwrap_or(2)).collect() };
        let small = |ty: &TensorType| {
            let count = sizes(ty).iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            count.is_some_and(|n| n < 5000) && sizes(ty).iter().all(|&size| size < 5000)
        };
        if !operands.iter().flatten().chain(&inferred).all(small) {
            return Ok(());
        }
        let fill = |ty: &TensorType| {
            let count = sizes(ty).iter().product::<usize>();
            Tensor::new(&sizes(ty), (0..count).map(|i| (i % 5) as f32 - 1.0).collect()).unwrap().cast(ty.storage())
        };
        let tensors: Vec<Option<Tensor>> = operands.iter().map(|ty| ty.as_ref().map(fill)).collect();
        let grids: Vec<Option<&Grid>> = operands.iter().map(|ty| ty.as_ref().map(|ty| &ty.grid)).collect();
        if let Ok(results) = registry.eval_on(&op, &attrs, &tensors, &grids, Arithmetic::Exact) {
            prop_assert_eq!(results.len(), inferred.len());
            for (ty, tensor) in inferred.iter().zip(&results) {
                prop_assert!(ty.shape.admits(tensor.sizes()), "{} {:?}: {:?} is not {}", op, attrs, tensor.sizes(), ty.shape);
                prop_assert_eq!(ty.storage(), tensor.dtype());
            }
        }
    }
}
