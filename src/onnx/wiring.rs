//! Which nodes matter, and in which order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::OnnxError;

/// What this file needs to know of a node: its input and output names, absent ones empty.
pub trait Wired {
    fn inputs(&self) -> &[String];
    fn outputs(&self) -> &[String];
}

/// A fault, and the node it is at (if it is at one).
pub type Fault = (OnnxError, Option<usize>);

/// The nodes that an output needs, operands first; ready nodes come in file order. `given` are
/// the values that no node makes. Names are checked in all nodes, needed or not.
pub fn arrange<N: Wired>(
    nodes: &[N],
    given: &BTreeSet<&str>,
    outputs: &[&str],
) -> Result<Vec<usize>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        for name in names(node.outputs()) {
            if given.contains(name) || makers.insert(name, at).is_some() {
                faults.push((OnnxError::Duplicate { name: name.to_owned() }, Some(at)));
            }
        }
    }
    let unknown = |name: &str| !given.contains(name) && !makers.contains_key(name);
    for (at, node) in nodes.iter().enumerate() {
        for name in names(node.inputs()).filter(|name| unknown(name)) {
            faults.push((OnnxError::UnknownValue { name: name.to_owned() }, Some(at)));
        }
    }
    for name in outputs.iter().filter(|name| unknown(name)) {
        faults.push((OnnxError::UnknownValue { name: (*name).to_owned() }, None));
    }
    if !faults.is_empty() {
        return Err(faults);
    }

    let needed_by = |at: usize| names(nodes[at].inputs()).filter_map(|name| makers.get(name).copied());
    let mut live = BTreeSet::new();
    let mut stack: Vec<usize> = outputs.iter().filter_map(|name| makers.get(name).copied()).collect();
    while let Some(at) = stack.pop() {
        if live.insert(at) {
            stack.extend(needed_by(at));
        }
    }

    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut waiting: BTreeMap<usize, usize> = BTreeMap::new();
    let mut ready = BinaryHeap::new();
    for &at in &live {
        let mut count = 0;
        for maker in needed_by(at) {
            readers.entry(maker).or_default().push(at);
            count += 1;
        }
        if count == 0 {
            ready.push(Reverse(at));
        } else {
            waiting.insert(at, count);
        }
    }
    let mut order = Vec::with_capacity(live.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for &reader in readers.get(&at).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(&reader);
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    match waiting.keys().next() {
        None => Ok(order),
        Some(&start) => {
            Err(vec![cycle(start, |at| needed_by(at).find(|maker| waiting.contains_key(maker)), nodes)])
        }
    }
}

fn names(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// Walks back along `before` until a node comes again. Every node that still waits has a maker
/// that still waits, so the walk ends only so.
fn cycle<N: Wired>(start: usize, before: impl Fn(usize) -> Option<usize>, nodes: &[N]) -> Fault {
    let mut path = vec![start];
    let mut seen = BTreeSet::from([start]);
    let mut at = start;
    while let Some(maker) = before(at) {
        if !seen.insert(maker) {
            path.drain(..path.iter().position(|&on| on == maker).unwrap_or(0));
            break;
        }
        path.push(maker);
        at = maker;
    }
    path.reverse();
    let first = path.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(position, _)| position);
    path.rotate_left(first);
    let shown: Vec<String> = path
        .iter()
        .take(8)
        .map(|&at| format!("`{}`", names(nodes[at].outputs()).next().unwrap_or_default()))
        .collect();
    let more = if path.len() > shown.len() { ", …" } else { "" };
    (OnnxError::Cycle { nodes: format!("{}{more}", shown.join(", ")) }, path.first().copied())
}
