//! Graphs of all shapes: names that need quotes, every grid, attributes of every kind, constants
//! with NaNs. They are well formed, not well typed.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use qirc::diag::{Loc, Place};
use qirc::ir::{Attr, AttrKind, Attrs, Graph, Range, Value, ValueId};
use qirc::ops::{self, Registry};
use qirc::tensor::{AffineGrid, DType, Dim, Direction, Grid, Shape, Tensor, TensorType};

pub fn registry() -> Registry {
    Registry::built_in()
}

pub fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9_./$-]{1,8}",
        1 => "\\PC{0,6}",
        1 => any::<String>(),
        1 => select(vec!["in", "loc", "const", "return", "a//b", "a/", "x.scale", "x", "__metadata__"])
            .prop_map(str::to_owned),
    ]
}

fn f32_bits() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<u32>().prop_map(f32::from_bits),
        select(vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, 0.1, 16777216.0, 1e20]),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let dim = prop_oneof![
        4 => (0usize..9).prop_map(Dim::Fixed),
        1 => any::<usize>().prop_map(Dim::Fixed),
        1 => name().prop_map(|name| Dim::Symbol(name.into())),
    ];
    vec(dim, 0..4).prop_map(Shape::from)
}

fn dtype() -> impl Strategy<Value = DType> {
    select(DType::ALL.to_vec())
}

fn grid() -> impl Strategy<Value = Grid> {
    let affine = (
        dtype(),
        any::<bool>(),
        prop_oneof![vec(any::<f64>(), 1), vec(0.001f64..100.0, 0..20)],
        prop_oneof![Just(vec![0i64]), vec(any::<i64>(), 0..20)],
        option::of(0usize..3),
    );
    prop_oneof![
        2 => dtype().prop_map(Grid::Plain),
        1 => affine.prop_map(|(storage, real, factors, zeros, axis)| {
            let direction = if real { Direction::RealPerInteger } else { Direction::IntegerPerReal };
            Grid::Affine(AffineGrid { storage, direction, factors: factors.into(), zeros: zeros.into(), axis })
        }),
    ]
}

fn tensor() -> impl Strategy<Value = Tensor> {
    (dtype(), vec(0usize..6, 0..4)).prop_flat_map(|(dtype, sizes)| {
        let count = sizes.iter().product::<usize>();
        let bytes = vec(prop_oneof![any::<u8>(), Just(0xff), Just(0)], count * dtype.size());
        let floats = vec(f32_bits(), count);
        (bytes, floats).prop_map(move |(mut bytes, floats)| {
            match dtype {
                DType::Bool => bytes.iter_mut().for_each(|byte| *byte &= 1),
                DType::F32 => bytes = floats.iter().flat_map(|v| v.to_le_bytes()).collect(),
                _ => {}
            }
            Tensor::from_le_bytes(dtype, &sizes, &bytes).expect("as many bytes as elements")
        })
    })
}

fn range() -> impl Strategy<Value = Option<Range>> {
    option::weighted(
        0.3,
        prop_oneof![Just(1usize), 0usize..20].prop_flat_map(|channels| {
            (vec(f32_bits(), channels), vec(f32_bits(), channels))
                .prop_map(|(lowest, highest)| Range { lowest: lowest.into(), highest: highest.into() })
        }),
    )
}

fn value() -> impl Strategy<Value = Value> {
    (name(), shape(), grid(), range()).prop_map(|(name, shape, grid, range)| Value {
        range,
        ..Value::new(name, TensorType { shape, grid })
    })
}

fn attr(kind: AttrKind) -> BoxedStrategy<Attr> {
    let float = || f32_bits().prop_filter("attributes are never NaN", |v| !v.is_nan());
    match kind {
        AttrKind::Bool => any::<bool>().prop_map(Attr::from).boxed(),
        AttrKind::Int => any::<i64>().prop_map(Attr::from).boxed(),
        AttrKind::Float => float().prop_map(Attr::from).boxed(),
        AttrKind::Str => name().prop_map(|text| Attr::from(&*text)).boxed(),
        AttrKind::DType => dtype().prop_map(Attr::from).boxed(),
        AttrKind::Ints => vec(any::<i64>(), 0..5).prop_map(Attr::from).boxed(),
        AttrKind::Floats => vec(float(), 0..5).prop_map(Attr::from).boxed(),
    }
}

#[derive(Clone, Debug)]
enum Made {
    Input,
    Const(String, Tensor),
    Op(String, Attrs, Vec<Option<Index>>),
}

/// An operator of the registry with attributes, defaults included.
fn op() -> impl Strategy<Value = Made> {
    let schemas: Vec<_> = registry().iter().map(|entry| entry.schema.clone()).collect();
    (select(schemas), vec(option::weighted(0.8, any::<Index>()), 0..5)).prop_flat_map(|(schema, operands)| {
        let attrs: Vec<_> = schema
            .attrs
            .iter()
            .map(|spec| {
                let name: Arc<str> = (&*spec.name).into();
                let given = attr(spec.kind);
                match spec.default.clone() {
                    ops::Default::Required => given.prop_map(Some).boxed(),
                    ops::Default::Absent => option::of(given).boxed(),
                    ops::Default::Value(value) => prop_oneof![Just(value), given].prop_map(Some).boxed(),
                }
                .prop_map(move |value| value.map(|value| (name.clone(), value)))
                .boxed()
            })
            .collect();
        let op = schema.name.to_string();
        attrs.prop_map(move |attrs| {
            Made::Op(op.clone(), attrs.into_iter().flatten().collect(), operands.clone())
        })
    })
}

#[derive(Clone, Debug)]
struct Recipe {
    made: Made,
    values: Vec<Value>,
    called: Option<String>,
    locs: Vec<(String, String)>,
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let made = prop_oneof![
        1 => Just(Made::Input),
        2 => (name(), tensor()).prop_map(|(name, tensor)| Made::Const(name, tensor)),
        4 => op(),
    ];
    (made, vec(value(), 1..4), option::of(name()), vec((name(), name()), 0..3))
        .prop_map(|(made, values, called, locs)| Recipe { made, values, called, locs })
}

pub fn graph() -> impl Strategy<Value = Graph> {
    let outputs = vec((name(), any::<Index>()), 0..4);
    (name(), vec(recipe(), 0..10), outputs).prop_map(|(name, recipes, outputs)| {
        let mut graph = Graph::new(name);
        let mut values: Vec<ValueId> = Vec::new();
        for recipe in recipes {
            build(&mut graph, &mut values, recipe);
        }
        let mut taken = std::collections::BTreeSet::new();
        for (name, value) in outputs {
            if !values.is_empty() && taken.insert(name.clone()) {
                graph.add_output(name, *value.get(&values));
            }
        }
        graph
    })
}

fn build(graph: &mut Graph, values: &mut Vec<ValueId>, recipe: Recipe) {
    let places = recipe
        .locs
        .iter()
        .map(|(file, node)| Loc::from(Place::Node { file: (**file).into(), node: (**node).into() }));
    let loc = Loc::merged(&places.collect::<Vec<_>>());
    let first = recipe.values[0].clone();
    let made = match recipe.made {
        Made::Input => {
            let id = graph.add_input(&first.name, first.ty, loc);
            graph.set_range(id, first.range);
            vec![id]
        }
        Made::Const(data, tensor) => {
            let constant = graph.constants.intern(&data, tensor);
            let id = graph.add_const_ref(&first.name, constant, loc);
            graph.set_type(id, first.ty);
            graph.set_range(id, first.range);
            vec![id]
        }
        Made::Op(op, attrs, operands) => {
            let operand = |index: Option<Index>| index.filter(|_| !values.is_empty()).map(|i| *i.get(values));
            let operands = operands.into_iter().map(operand).collect();
            let count = recipe.values.len() as u32;
            let node = graph.add_op(&op, attrs, operands, recipe.values, loc);
            (0..count).map(|result| ValueId { node, result }).collect()
        }
    };
    if let Some(called) = recipe.called {
        graph.set_node_name(made[0].node, called);
    }
    values.extend(made);
}
