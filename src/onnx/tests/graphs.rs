//! Models to graphs, graphs to models.

use crate::diag::{Diagnostic, Diagnostics};
use crate::ir::Graph;
use crate::ir::InputShapes;
use crate::onnx::file::{ExternalData, ModelFile};
use crate::onnx::import::import_file;
use crate::onnx::proto::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use crate::onnx::proto::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};
use crate::onnx::{attr, encode, tensor};
use crate::ops::{OnnxAttr, RefAttr, Registry};
use crate::tensor::Tensor;

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        ..NodeProto::default()
    }
}

fn with(mut node: NodeProto, name: &str, value: OnnxAttr) -> NodeProto {
    node.attribute.push(attr::encode(name, &value));
    node
}

fn info(name: &str, dims: &[Option<DimValue>]) -> ValueInfoProto {
    let dim = dims.iter().map(|value| Dimension { value: value.clone(), ..Dimension::default() }).collect();
    let ty = TensorTypeProto { elem_type: Some(1), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(ty)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

fn size(size: i64) -> Option<DimValue> {
    Some(DimValue::DimValue(size))
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

/// A model `x[N, 2] -> y` of the given nodes.
fn model(nodes: Vec<NodeProto>) -> ModelProto {
    let graph = GraphProto {
        name: Some("net".into()),
        input: vec![info("x", &[None, size(2)])],
        output: vec![info("y", &[])],
        node: nodes,
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset("", 17)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn graph_of(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn read(model: ModelProto) -> Result<Graph, Diagnostics> {
    let file = ModelFile { name: "net.onnx".into(), model, external: ExternalData::below("".as_ref()) };
    import_file(&file, &Registry::built_in(), &InputShapes::default())
}

fn faults(model: ModelProto) -> Vec<Diagnostic> {
    read(model).unwrap_err().0
}

/// Code of the only fault.
fn code(model: ModelProto) -> &'static str {
    let faults = faults(model);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].code
}

/// The operators in order, each with the name of its node, its first operand and its result.
fn shown(graph: &Graph) -> Vec<String> {
    let name = |value| graph.value(value).name.clone();
    graph
        .order()
        .into_iter()
        .map(|id| graph.node(id))
        .filter_map(|node| {
            let x = node.operand(0).map(name).unwrap_or_default();
            Some(format!("{}: {} {x} -> {}", node.name, node.op()?, node.results[0].name))
        })
        .collect()
}

#[test]
fn nodes_are_sorted_named_and_placed() {
    let mut last = node("Relu", &["b"], &["y"]);
    last.name = Some("last".into());
    let graph = read(model(vec![last, node("Relu", &["a"], &["b"]), node("Relu", &["x"], &["a"])])).unwrap();
    assert_eq!(shown(&graph), ["a: relu x -> a", "b: relu a -> b", "last: relu b -> y"]);
    let y = graph.find("y").unwrap();
    assert_eq!(graph.node(y.node).loc.nodes().collect::<Vec<_>>(), [("net.onnx", "last")]);
    assert_eq!(graph.ty(y).shape.to_string(), "[N, 2]");
}

/// Message and hints of the only fault.
fn says(model: ModelProto) -> String {
    let faults = faults(model);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(!faults[0].labels.is_empty(), "{faults:?}");
    format!("{}: {}; {}", faults[0].code, faults[0].message, faults[0].notes.join("; "))
}

#[test]
fn attributes_and_operands_that_an_operator_does_not_take_are_refused() {
    let with_int = |op: &str, attr: &str| with(node(op, &["x"], &["y"]), attr, OnnxAttr::Int(1));
    assert_eq!(
        says(model(vec![with_int("Softmax", "axes")])),
        "Q0304: `Softmax` has no attribute `axes`; did you mean `axis`?"
    );
    assert_eq!(
        says(model(vec![with_int("Relu", "alpha")])),
        "Q0304: `Relu` has no attribute `alpha`; `Relu` has no attributes"
    );
    let axes = OnnxAttr::Ints(vec![0]);
    assert_eq!(
        says(model(vec![with(node("Unsqueeze", &["x"], &["y"]), "axes", axes)])),
        "Q0304: `Unsqueeze` of opset 17 has no attribute `axes`: it is of another version; "
    );
    assert_eq!(
        says(model(vec![node("Relu", &["x", "", "x"], &["y"])])),
        "Q0302: `Relu` takes at most 1 operands, found 3; "
    );
    read(model(vec![node("Relu", &["x", ""], &["y"])])).unwrap();
}

#[test]
fn outputs_have_the_types_that_are_declared() {
    let declared = |info: ValueInfoProto| {
        let mut model = model(vec![node("Relu", &["x"], &["y"])]);
        graph_of(&mut model).output = vec![info];
        model
    };
    for dims in [&[None, size(2)][..], &[size(5), size(2)], &[]] {
        read(declared(info("y", dims))).unwrap();
    }
    assert_eq!(
        says(declared(info("y", &[None, size(7)]))),
        "Q0424: graph output `y` is declared as f32[?, 7], and is f32[N, 2]; "
    );
    assert_eq!(code(declared(info("y", &[size(2)]))), "Q0424");
    let mut integers = info("y", &[None, size(2)]);
    let Some(TypeValue::TensorType(ty)) = integers.r#type.as_mut().unwrap().value.as_mut() else { panic!() };
    ty.elem_type = Some(3);
    assert_eq!(code(declared(integers)), "Q0424");
}

#[test]
fn what_no_output_needs_is_left_out() {
    let dead = vec![node("Relu", &["x"], &["y"]), node("If", &["x"], &["z"])];
    assert_eq!(shown(&read(model(dead)).unwrap()), ["y: relu x -> y"]);
}

#[test]
fn outputs_that_nothing_reads_are_not_asked_for() {
    let masked =
        |reads: &str| model(vec![node("Dropout", &["x"], &["d", "mask"]), node("Relu", &[reads], &["y"])]);
    assert_eq!(shown(&read(masked("d")).unwrap()), ["d: dropout x -> d", "y: relu d -> y"]);
    assert_eq!(code(masked("mask")), "Q0308");
}

#[test]
fn sizes_keep_their_names_and_open_ones_get_some() {
    let symbol = |name: &str| Some(DimValue::DimParam(name.into()));
    let mut m = model(vec![node("Relu", &["x"], &["y"])]);
    let inputs = [
        info("x", &[symbol("batch"), None, size(3)]),
        info("z", &[symbol(""), symbol("z_d2"), None]),
        info("v", &[None, symbol("N")]),
    ];
    graph_of(&mut m).input = inputs.into();
    let graph = read(m).unwrap();
    let shapes: Vec<String> = graph.inputs().map(|value| graph.ty(value).shape.to_string()).collect();
    assert_eq!(shapes, ["[batch, x_d1, 3]", "[N_1, z_d2, z_d2_1]", "[N_1, N]"]);
}

/// As exporters flatten a map: with sizes that are computed from it.
#[test]
fn sizes_may_be_computed_from_open_ones() {
    let part = |name: &str, value: i64, output: &str| {
        with(node("Shape", &["x"], &[output]), name, OnnxAttr::Int(value))
    };
    let reshaped = |sizes: &[&str]| {
        let list = with(node("Concat", sizes, &["sizes"]), "axis", OnnxAttr::Int(0));
        let reshape = node("Reshape", &["x", "sizes"], &["y"]);
        model(vec![part("end", 1, "batch"), part("start", 1, "rest"), list, reshape])
    };
    let graph = read(reshaped(&["batch", "rest"])).unwrap();
    assert_eq!(shown(&graph).last().unwrap(), "y: reshape x -> y");
    assert_eq!(graph.ty(graph.find("y").unwrap()).shape.to_string(), "[N, 2]");
    let graph = read(reshaped(&["rest", "batch"])).unwrap();
    assert_eq!(graph.ty(graph.find("y").unwrap()).shape.to_string(), "[2, N]");
    // Neither of two is left over.
    assert_eq!(code(reshaped(&["rest", "batch", "batch"])), "Q0308");
}

/// As exporters begin a state, or repeat a token: for each of an open batch.
#[test]
fn tensors_may_have_open_sizes() {
    let sized = |last: NodeProto| {
        let batch = with(node("Shape", &["x"], &["batch"]), "end", OnnxAttr::Int(1));
        let list = with(node("Concat", &["one", "batch", "three"], &["sizes"]), "axis", OnnxAttr::Int(0));
        let mut m = model(vec![batch, list, last]);
        for (name, size) in [("one", 1i64), ("three", 3)] {
            graph_of(&mut m).initializer.push(tensor::encode(Some(name), &Tensor::vector(vec![size])));
        }
        let token = Tensor::vector(vec![1.0f32, 2.0, 3.0]);
        graph_of(&mut m).initializer.push(tensor::encode(Some("token"), &token));
        read(m).unwrap()
    };
    for last in [node("ConstantOfShape", &["sizes"], &["y"]), node("Expand", &["token", "sizes"], &["y"])] {
        let graph = sized(last);
        let y = graph.find("y").unwrap();
        assert_eq!(graph.ty(y).shape.to_string(), "[1, N, 3]");
        assert_eq!(graph.node(y.node).op(), Some("stretch"));
    }
}

#[test]
fn constants_come_from_initializers_and_nodes() {
    let scalar = |value: f32| Tensor::scalar(value);
    let mut m = model(vec![
        with(node("Constant", &[], &["max"]), "value_float", OnnxAttr::Float(6.0)),
        node("Clip", &["x", "min", "max"], &["y"]),
    ]);
    let graph = graph_of(&mut m);
    graph.initializer.push(tensor::encode(Some("min"), &scalar(-1.0)));
    // Before IR version 4, initializers were graph inputs too.
    graph.input.push(info("min", &[]));
    let graph = read(m).unwrap();
    assert_eq!(shown(&graph), ["y: clip x -> y"]);
    assert_eq!(graph.inputs().count(), 1);
    // The bounds became attributes, so nothing reads the constants.
    assert_eq!(graph.len(), 2);
}

#[test]
fn constant_nodes_have_one_of_several_attributes() {
    let forms = [
        ("value", OnnxAttr::Tensor(Tensor::scalar(7i64)), Tensor::scalar(7i64)),
        ("value_int", OnnxAttr::Int(7), Tensor::scalar(7i64)),
        ("value_ints", OnnxAttr::Ints(vec![7, 8]), Tensor::vector(vec![7i64, 8])),
        ("value_float", OnnxAttr::Float(0.5), Tensor::scalar(0.5f32)),
        ("value_floats", OnnxAttr::Floats(vec![0.5]), Tensor::vector(vec![0.5f32])),
    ];
    for (name, value, wanted) in forms {
        let mut untyped = model(vec![with(node("Constant", &[], &["y"]), name, value)]);
        graph_of(&mut untyped).output[0].r#type = None;
        let graph = read(untyped).unwrap();
        let y = graph.find("y").unwrap();
        assert_eq!(**graph.constant(y).unwrap(), wanted);
    }
    let text = with(node("Constant", &[], &["y"]), "value_string", OnnxAttr::Str("a".into()));
    assert_eq!(code(model(vec![text])), "Q0420");
    assert_eq!(code(model(vec![node("Constant", &[], &["y"])])), "Q0420");
}

#[test]
fn unsupported_operators_are_all_reported() {
    let mut custom = node("Thing", &["b"], &["y"]);
    custom.domain = Some("my.domain".into());
    let mut m = model(vec![node("If", &["x"], &["a"]), node("NonZero", &["a"], &["b"]), custom]);
    m.opset_import.push(opset("my.domain", 1));
    let faults = faults(m);
    let messages: Vec<&str> = faults.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "operator `If` is not supported",
            "operator `NonZero` is not supported",
            "operator `my.domain.Thing` is not supported"
        ]
    );
    assert!(faults[1].notes[0].contains("onnxsim"));
    assert!(!faults[1].labels.is_empty());
}

#[test]
fn versions_are_checked() {
    let mut m = model(vec![node("Relu", &["x"], &["y"])]);
    m.opset_import = vec![opset("ai.onnx", 17), opset("", 17)];
    assert!(read(m.clone()).is_ok());
    m.opset_import = vec![opset("", 6)];
    assert_eq!(code(m.clone()), "Q0411");
    m.opset_import = vec![opset("", 1000)];
    assert_eq!(code(m.clone()), "Q0411");
    m.opset_import = vec![opset("", 13), opset("", 17)];
    assert_eq!(code(m.clone()), "Q0412");
    m.opset_import.clear();
    assert_eq!(code(m.clone()), "Q0412");
    m.ir_version = None;
    assert_eq!(code(m), "Q0410");
}

#[test]
fn broken_wiring_is_reported() {
    let relu = |x: &str, y: &str| node("Relu", &[x], &[y]);
    assert_eq!(code(model(vec![relu("nowhere", "y")])), "Q0414");
    assert_eq!(code(model(vec![relu("x", "z")])), "Q0414");
    assert_eq!(code(model(vec![relu("x", "y"), relu("x", "y")])), "Q0413");
    assert_eq!(code(model(vec![relu("x", "x"), relu("x", "y")])), "Q0413");
    let around = model(vec![relu("a", "b"), relu("b", "c"), relu("c", "a"), relu("c", "y")]);
    let faults = faults(around);
    assert_eq!(faults[0].code, "Q0415");
    assert_eq!(faults[0].message, "nodes wait for each other: `b`, `c`, `a`");

    let mut m = model(vec![relu("x", "y")]);
    graph_of(&mut m).output.clear();
    assert_eq!(code(m.clone()), "Q0417");
    graph_of(&mut m).output = vec![info("y", &[]), info("y", &[])];
    assert_eq!(code(m.clone()), "Q0413");
    graph_of(&mut m).output.pop();
    graph_of(&mut m).sparse_initializer.push(SparseTensorProto::default());
    assert_eq!(code(m.clone()), "Q0418");
    graph_of(&mut m).sparse_initializer.clear();
    graph_of(&mut m).input[0] = info("x", &[size(-1)]);
    assert_eq!(code(m.clone()), "Q0416");
    graph_of(&mut m).input[0].r#type = None;
    assert_eq!(code(m), "Q0416");
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        domain: Some("f".into()),
        name: Some(name.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        node: nodes,
        opset_import: vec![opset("", 17), opset("f", 1)],
        ..FunctionProto::default()
    }
}

fn call(name: &str, function: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { name: Some(name.into()), domain: Some("f".into()), ..node(function, inputs, outputs) }
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let constant = |name: &str, of: &str| {
        with(node("Constant", &[], &[name]), "value_float", OnnxAttr::Ref(RefAttr::Float(of.into())))
    };
    let mut clip = function(
        "clip",
        &["a"],
        &["b"],
        vec![constant("lo", "low"), constant("hi", "high"), node("Clip", &["a", "lo", "hi"], &["b"])],
    );
    clip.attribute = vec!["low".into()];
    clip.attribute_proto = vec![attr::encode("high", &OnnxAttr::Float(6.0))];
    let twice = function(
        "twice",
        &["v", "unused"],
        &["w", "v"],
        vec![
            with(call("inner", "clip", &["v"], &["t"]), "low", OnnxAttr::Float(-1.0)),
            node("Relu", &["t"], &["w"]),
        ],
    );
    let mut m = model(vec![call("outer", "twice", &["x"], &["y"])]);
    m.opset_import.push(opset("f", 1));
    m.functions = vec![clip, twice];
    let graph = read(m).unwrap();
    assert_eq!(shown(&graph), ["outer/t: clip x -> outer/t", "y: relu outer/t -> y"]);
    let clip = graph.node(graph.find("outer/t").unwrap().node);
    let crate::ir::Kind::Op { attrs, .. } = &clip.kind else { panic!() };
    assert_eq!((attrs.get_float("min"), attrs.get_float("max")), (Some(-1.0), Some(6.0)));
}

#[test]
fn functions_without_end_are_refused() {
    let mut m = model(vec![call("c", "f0", &["x"], &["y"])]);
    m.opset_import.push(opset("f", 1));
    m.functions = vec![function("f0", &["a"], &["b"], vec![call("c", "f0", &["a"], &["b"])])];
    assert_eq!(code(m.clone()), "Q0422");
    // Each calls the next twice: 2^40 nodes.
    let next = |i: usize| format!("f{}", i + 1);
    m.functions = (0..40)
        .map(|i| {
            let body = vec![call("c", &next(i), &["a"], &["t"]), call("d", &next(i), &["t"], &["b"])];
            function(&format!("f{i}"), &["a"], &["b"], body)
        })
        .collect();
    assert_eq!(code(m.clone()), "Q0422");
    m.functions = vec![function("f0", &[], &["b"], Vec::new())];
    assert_eq!(code(m.clone()), "Q0422");
    m.functions = vec![function("f0", &["a"], &["b"], Vec::new()); 2];
    assert_eq!(code(m), "Q0422");
}

#[test]
fn attribute_references_outside_of_functions_are_refused() {
    let reference = OnnxAttr::Ref(RefAttr::Float("alpha".into()));
    assert_eq!(code(model(vec![with(node("Relu", &["x"], &["y"]), "alpha", reference)])), "Q0420");
    let twice = AttributeProto { r#type: Some(2), name: Some("a".into()), ..AttributeProto::default() };
    let mut relu = node("Relu", &["x"], &["y"]);
    relu.attribute = vec![twice.clone(), twice];
    assert_eq!(code(model(vec![relu])), "Q0420");
}

fn round_trip(graph: &Graph) -> Graph {
    let bytes = encode(graph, &Registry::built_in()).unwrap();
    assert_eq!(bytes, encode(graph, &Registry::built_in()).unwrap());
    let file = ModelFile::decode("net.onnx", bytes.into(), ExternalData::below("".as_ref())).unwrap();
    import_file(&file, &Registry::built_in(), &InputShapes::default()).unwrap()
}

#[test]
fn exported_graphs_read_back_equal() {
    let mut m = model(vec![
        with(node("Constant", &[], &["max"]), "value_float", OnnxAttr::Float(6.0)),
        node("Clip", &["x", "", "max"], &["a"]),
        node("Relu", &["a"], &["y"]),
    ]);
    graph_of(&mut m).output.push(info("a", &[]));
    graph_of(&mut m).node[2].name = Some("last".into());
    let graph = read(m).unwrap();
    assert!(round_trip(&graph).same_as(&graph));
}

#[test]
fn outputs_that_have_no_name_of_their_own_are_copied() {
    let mut graph = read(model(vec![node("Relu", &["x"], &["y"])])).unwrap();
    let y = graph.find("y").unwrap();
    let x = graph.find("x").unwrap();
    graph.rename_output(0, "first");
    graph.add_output("second", y);
    graph.add_output("x", x);
    graph.add_output("y", x);
    let bytes = encode(&graph, &Registry::built_in()).unwrap();
    let file = ModelFile::decode("net.onnx", bytes.into(), ExternalData::below("".as_ref())).unwrap();
    let written = file.model.graph.unwrap();
    let lines: Vec<String> = written
        .node
        .iter()
        .map(|n| format!("{} {:?} -> {:?}", n.op_type.as_deref().unwrap(), n.input, n.output))
        .collect();
    assert_eq!(
        lines,
        [r#"Relu ["x"] -> ["first"]"#, r#"Identity ["first"] -> ["second"]"#, r#"Identity ["x"] -> ["y"]"#]
    );
    graph.rename_output(0, "x");
    assert!(encode(&graph, &Registry::built_in()).is_err());
}

#[test]
fn a_quantized_file_keeps_every_name_and_parameter() {
    let bytes: &[u8] = include_bytes!("../../../tests/data/onnx/dense_quantized.onnx");
    let decode = |bytes: Vec<u8>| {
        ModelFile::decode("net.onnx", bytes.into(), ExternalData::below("".as_ref())).unwrap()
    };
    let file = decode(bytes.to_vec());
    let graph = import_file(&file, &Registry::built_in(), &InputShapes::default()).unwrap();
    assert!(round_trip(&graph).same_as(&graph));

    let written = decode(encode(&graph, &Registry::built_in()).unwrap());
    assert_eq!(written.model.ir_version, Some(11));
    assert_eq!(written.model.opset_import, [opset("", 21), opset("com.brainchip", 1)]);
    let (written, read) = (&written.model, &file.model);
    let names = |model: &ModelProto| -> Vec<String> {
        let functions = model.functions.iter();
        functions.map(|f| format!("{}{:?}{:?}", f.name.as_deref().unwrap(), f.input, f.output)).collect()
    };
    assert_eq!(names(written), names(read));
    let (written, read) = (written.graph.as_ref().unwrap(), read.graph.as_ref().unwrap());
    let parameters = |graph: &GraphProto| -> Vec<_> {
        graph
            .initializer
            .iter()
            .map(|t| (t.name.clone(), t.data_type, t.dims.clone(), t.raw_data.clone()))
            .collect()
    };
    assert_eq!(parameters(written), parameters(read));
    for (written, read) in written.node.iter().zip(&read.node) {
        let plain = |node: &NodeProto| NodeProto { attribute: Vec::new(), ..node.clone() };
        assert_eq!(plain(written), plain(read));
    }
    assert_eq!(written.node.len(), read.node.len());
}
