//! The rooms import downwards only (`docs/architecture.md`). Unit tests may look up.

use std::fs;
use std::path::Path;

/// Lowest first; rooms on one line do not import each other.
const ROOMS: &[&[&str]] = &[
    &["diag"],
    &["tensor"],
    &["kernels"],
    &["ir"],
    &["ops"],
    &["interp", "verify", "syntax", "onnx", "keras"],
    &["rewrite", "quant"],
    &["pass"],
    &["cli"],
];

fn level(room: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&room))
}

/// Every `crate::ROOM` that a file names, with its line.
fn named_rooms(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for rest in line.split("crate::").skip(1) {
            let room: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            found.push((number + 1, room));
        }
    }
    found
}

fn visit(dir: &Path, check: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                visit(&path, check);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            check(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    for room in ROOMS.iter().flat_map(|rooms| rooms.iter()) {
        visit(&src.join(room), &mut |path, text| {
            for (line, target) in named_rooms(text) {
                let fits = target == *room || level(&target).is_none() || level(&target) < level(room);
                if !fits {
                    faults.push(format!("{}:{line}: `{room}` names `{target}`", path.display()));
                }
            }
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn one_file_each_knows_egg_petgraph_and_hdf5_and_one_room_protobuf() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (word, home) in [
        ("egg::", "rewrite/egraph.rs"),
        ("petgraph::", "ir/graph.rs"),
        ("prost::", "onnx/"),
        ("hdf5_pure::", "keras/hdf5.rs"),
    ] {
        visit(&src, &mut |path, text| {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let names = code.into_iter().any(|line| line.contains(word));
            let at = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
            assert!(!names || at.starts_with(home), "{at} names {word}");
        });
    }
}

/// Folding, inverting and fusing exist as rule files only: outside the operators themselves no code
/// names what such a rewrite would have to look for.
#[test]
fn no_code_matches_the_shapes_that_rules_are_for() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let shapes = ["batch_norm", "relu", "clip", "max_pool2d", "avg_pool2d", "dense", "QuantizedConv2D"];
    // Looks at what reads a sum, to put a convolution between; replaces none of it.
    let looks = ["pass/identity_convs.rs"];
    let mut files = 0;
    visit(&src, &mut |path, text| {
        let at = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
        // What is below the graph cannot look into it, and an importer makes operators without looking.
        if at.starts_with("keras/")
            || at.starts_with("ops/")
            || at.starts_with("tensor/")
            || looks.contains(&&*at)
        {
            return;
        }
        files += 1;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            for shape in shapes {
                assert!(!line.contains(&format!("\"{shape}\"")), "{at}:{} names {shape}", number + 1);
            }
        }
    });
    assert!(files > 100);
    for (rule, file) in [
        ("batch_norm_into_conv2d", "fold_batchnorm"),
        ("relu_behind_max_pool2d", "cleanup"),
        ("layer QuantizedConv2D", "fuse"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("passes/{file}.qrules"));
        assert!(fs::read_to_string(path).unwrap().contains(rule));
    }
}
