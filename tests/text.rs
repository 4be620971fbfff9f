//! The text form on generated graphs: what is printed reads back as the same graph.

mod common;

use std::io;

use bytes::Bytes;
use common::graphs::{graph, registry};
use proptest::prelude::*;
use qirc::diag::{Sources, render};
use qirc::ir::Graph;
use qirc::syntax::qir::{Text, format, parse, print};

fn read_back(text: &Text) -> Graph {
    let mut sources = Sources::default();
    let id = sources.add("a.qir", &*text.qir).expect("small");
    let file = text.safetensors().expect("written");
    let mut load = |path: &str| match &file {
        Some(bytes) if path == "dir/a b.safetensors" => Ok(Bytes::from(bytes.clone())),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    parse(&text.qir, id, &registry(), &mut load).unwrap_or_else(|found| {
        let all: Vec<_> = found.0.iter().map(|finding| render(finding, &sources, false)).collect();
        panic!("{}\n{}", all.join("\n"), text.qir)
    })
}

proptest! {
    #[test]
    fn a_printed_graph_reads_back_as_itself(graph in graph()) {
        let text = print(&graph, &registry(), "dir/a b.safetensors");
        let back = read_back(&text);
        prop_assert!(back.same_as(&graph), "{}", text.qir);
        let again = print(&back, &registry(), "dir/a b.safetensors");
        prop_assert_eq!(&again.qir, &text.qir);
        prop_assert_eq!(again.safetensors().unwrap(), text.safetensors().unwrap());
    }

    #[test]
    fn a_printed_graph_is_laid_out(graph in graph()) {
        let text = print(&graph, &registry(), "a.safetensors").qir;
        let id = Sources::default().add("a.qir", &*text).expect("small");
        prop_assert_eq!(format(&text, id).unwrap(), text);
    }
}
