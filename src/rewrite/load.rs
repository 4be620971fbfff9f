//! Rule files, the built-in ones and users', through one reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::check::{check, layer};
use super::declared::{Declared, DeclaredLayer, fusion};
use super::error::RewriteError;
use super::rule::{Contract, Driver, Ruleset};
use crate::diag::{Diagnostic, Diagnostics, Severity, Sources, Span, WithPlaces};
use crate::ops::Registry;
use crate::syntax::rules::{self, ast};
use crate::tensor::stays_below;

/// The rule files that come with the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("activations", include_str!("../../passes/activations.qrules")),
    ("averages", include_str!("../../passes/averages.qrules")),
    ("blocks", include_str!("../../passes/blocks.qrules")),
    ("bounds", include_str!("../../passes/bounds.qrules")),
    ("channels", include_str!("../../passes/channels.qrules")),
    ("cleanup", include_str!("../../passes/cleanup.qrules")),
    ("constants", include_str!("../../passes/constants.qrules")),
    ("device", include_str!("../../passes/device.qrules")),
    ("elementwise_first", include_str!("../../passes/elementwise_first.qrules")),
    ("entry", include_str!("../../passes/entry.qrules")),
    ("fold_batchnorm", include_str!("../../passes/fold_batchnorm.qrules")),
    ("fuse", include_str!("../../passes/fuse.qrules")),
    ("fuse_alone", include_str!("../../passes/fuse_alone.qrules")),
    ("fuse_depthwise_pools", include_str!("../../passes/fuse_depthwise_pools.qrules")),
    ("fuse_more", include_str!("../../passes/fuse_more.qrules")),
    ("kernels", include_str!("../../passes/kernels.qrules")),
    ("layout", include_str!("../../passes/layout.qrules")),
    ("linear", include_str!("../../passes/linear.qrules")),
    ("movement", include_str!("../../passes/movement.qrules")),
    ("odd_kernels", include_str!("../../passes/odd_kernels.qrules")),
    ("of_one", include_str!("../../passes/of_one.qrules")),
    ("norms", include_str!("../../passes/norms.qrules")),
    ("order", include_str!("../../passes/order.qrules")),
    ("pairs", include_str!("../../passes/pairs.qrules")),
    ("pooling", include_str!("../../passes/pooling.qrules")),
    ("layers", include_str!("../../passes/layers.qrules")),
    ("remainder", include_str!("../../passes/remainder.qrules")),
];

/// The built-in rule files that make layers.
const FUSIONS: &[&str] = &["fuse", "fuse_depthwise_pools", "fuse_more"];

/// Files that use each other are at most so deep.
const DEEPEST: usize = 64;

/// What a rule file came to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Those of the files it uses come first.
    pub sets: Vec<Ruleset>,
    /// What the files declare, in the same order.
    pub layers: Vec<Arc<Declared>>,
    pub warnings: Diagnostics,
}

/// Reads and checks rule files, given by name and text, as one: a name means the same in all of them.
/// Files that they use are read by `read`, which gets their path relative to where the names are
/// relative to. They lie beside the file that uses them, or below its directory. A file counts once,
/// whoever names it.
///
/// # Errors
/// Everything that is wrong in any of the files.
pub fn load(
    sources: &mut Sources,
    registry: &mut Registry,
    files: &[(&str, &str)],
    read: &mut dyn FnMut(&Path) -> Result<String, String>,
) -> Result<Loaded, Diagnostics> {
    let mut fusions = Vec::new();
    // Only the chain form needs them.
    if files.iter().any(|(_, text)| text.contains("chain") || text.contains("use")) {
        for file in BUILT_IN.iter().filter(|(name, _)| FUSIONS.contains(name)) {
            let mut none = no_files;
            let loader = Loader::new(sources, registry, Vec::new(), &mut none);
            fusions.extend(loader.run(std::slice::from_ref(file))?.0.sets);
        }
    }
    let (loaded, with_layers) = Loader::new(sources, registry, fusions, read).run(files)?;
    *registry = with_layers;
    Ok(loaded)
}

/// A built-in rule file; `None` if there is none of that name.
///
/// # Errors
/// A built-in file that does not fit the registry (a registry without the built-in operators).
pub fn built_in(
    sources: &mut Sources,
    registry: &Registry,
    name: &str,
) -> Option<Result<Vec<Ruleset>, Diagnostics>> {
    let (_, text) = BUILT_IN.iter().find(|(other, _)| *other == name)?;
    let name = format!("passes/{name}.qrules");
    let loaded = Loader::new(sources, registry, Vec::new(), &mut no_files).run(&[(&name, text)]);
    Some(loaded.map(|(loaded, _)| loaded.sets))
}

fn no_files(_: &Path) -> Result<String, String> {
    Err("built-in rule files use no others".to_owned())
}

struct Loader<'a> {
    sources: &'a mut Sources,
    /// With the layers of the files so far.
    registry: Registry,
    /// What chains of operators are as layers.
    fusions: Vec<Ruleset>,
    read: &'a mut dyn FnMut(&Path) -> Result<String, String>,
    seen: BTreeSet<PathBuf>,
    /// The file that is read, behind those that led to it.
    open: Vec<PathBuf>,
    /// Names of the layers that these files declare.
    layers: BTreeSet<Arc<str>>,
    declared: Vec<Arc<Declared>>,
    sets: Vec<Ruleset>,
    /// Where the names of these stand.
    names: BTreeMap<Arc<str>, Span>,
    findings: Diagnostics,
}

impl<'a> Loader<'a> {
    fn new(
        sources: &'a mut Sources,
        registry: &Registry,
        fusions: Vec<Ruleset>,
        read: &'a mut dyn FnMut(&Path) -> Result<String, String>,
    ) -> Self {
        let (registry, layers) = (registry.clone(), BTreeSet::new());
        let (seen, open) = (BTreeSet::new(), Vec::new());
        let (declared, sets, names) = (Vec::new(), Vec::new(), BTreeMap::new());
        let findings = Diagnostics::default();
        Self { sources, registry, fusions, read, seen, open, layers, declared, sets, names, findings }
    }

    fn run(mut self, files: &[(&str, &str)]) -> Result<(Loaded, Registry), Diagnostics> {
        for (name, text) in files {
            let path = plain(Path::new(name));
            if !self.seen.contains(&path) {
                self.file(&path, text);
            }
        }
        let warnings = self.findings.into_result()?;
        Ok((Loaded { sets: self.sets, layers: self.declared, warnings }, self.registry))
    }

    fn file(&mut self, path: &Path, text: &str) {
        self.seen.insert(path.to_owned());
        self.open.push(path.to_owned());
        self.items(path, text);
        self.open.pop();
    }

    fn items(&mut self, path: &Path, text: &str) {
        let shown = path.display().to_string();
        let Some(source) = self.sources.add(shown.clone(), text) else {
            let error = "the file is too large".to_owned();
            return self.findings.push(WithPlaces::new(RewriteError::Use { path: shown, error }));
        };
        let file = match rules::parse(text, source) {
            Ok(file) => file,
            Err(errors) => return self.findings.extend(errors),
        };
        if file.items.is_empty() {
            let whole = Span::new(source, 0..0);
            let nothing = WithPlaces::new(RewriteError::Nothing).at(whole, "");
            self.findings.push(Diagnostic { severity: Severity::Warning, ..nothing.into() });
        }
        for item in &file.items {
            if let ast::Item::Use(other) = item {
                self.uses(path, other);
            }
        }
        for item in &file.items {
            if let ast::Item::Layer(declaration) = item {
                self.layer(declaration, &shown, text);
            }
        }
        let (sets, mut findings) = check(&file, &self.registry, &self.fusions);
        // What is wrong with a layer was said where it is declared.
        let unknown = |item: &ast::Item| match item {
            ast::Item::Layer(layer) if self.registry.find(&layer.name.text).is_none() => {
                self.registry.get(&layer.name.text).err().map(|error| error.to_string())
            }
            _ => None,
        };
        let unknown: Vec<String> = file.items.iter().filter_map(unknown).collect();
        findings.0.retain(|finding| !unknown.contains(&finding.message));
        self.findings.extend(findings);
        for item in &file.items {
            let ast::Item::Ruleset(set) = item else { continue };
            let name = &set.name;
            if let Some(before) = self.names.insert(name.text.clone(), name.span) {
                let error = RewriteError::Duplicate { what: "ruleset", name: name.text.to_string() };
                self.findings.push(WithPlaces::new(error).at(name.span, "").at(before, "first defined here"));
            }
        }
        self.sets.extend(sets);
    }

    /// Adds a declared layer. A file that was read before, for another rule file, has its layers
    /// already.
    fn layer(&mut self, declaration: &ast::Layer, file: &str, text: &str) {
        let name = &declaration.name;
        let known = self.registry.find(&name.text);
        let declared_in = known.and_then(|entry| entry.schema.declared_in.clone());
        let again = !self.layers.contains(&name.text) && declared_in.as_deref() == Some(file);
        let (declared, findings) = match again {
            true => layer(declaration, &Registry::built_in(), file, text),
            false => layer(declaration, &self.registry, file, text),
        };
        self.layers.insert(name.text.clone());
        if !again {
            self.findings.extend(findings);
        }
        let Some(declared) = declared else { return };
        if let Some(rule) = fusion(&declared, name.span) {
            self.fusions.push(Ruleset {
                name: name.text.clone(),
                doc: String::new(),
                contract: Contract::Real,
                driver: Driver::Greedy,
                rules: vec![rule],
            });
        }
        let declared = Arc::new(declared);
        self.declared.push(declared.clone());
        if !again {
            self.registry.add(Box::new(DeclaredLayer(declared)));
        }
    }

    /// Reads a used file, unless it was read before.
    fn uses(&mut self, from: &Path, name: &ast::Name) {
        let path = plain(&from.parent().unwrap_or(Path::new("")).join(&*name.text));
        let circle = self.open.iter().position(|open| *open == path);
        let text = match circle {
            Some(first) => {
                let through: Vec<String> =
                    self.open[first..].iter().map(|open| format!("`{}`", open.display())).collect();
                Err(match &through[..] {
                    [_] => "the file uses itself; leave this line out".to_owned(),
                    all => {
                        format!("{}, which uses it again; leave one of these lines out", all.join(" uses "))
                    }
                })
            }
            None if self.seen.contains(&path) => return,
            None if !stays_below(&name.text) => {
                Err("the path leads away from this file; those that it uses lie beside it or below"
                    .to_owned())
            }
            None if self.open.len() > DEEPEST => {
                Err(format!("files use each other more than {DEEPEST} deep"))
            }
            None => (self.read)(&path),
        };
        match text {
            Ok(text) => self.file(&path, &text),
            Err(error) => {
                let error = RewriteError::Use { path: path.display().to_string(), error };
                self.findings.push(WithPlaces::new(error).at(name.span, ""));
            }
        }
    }
}

/// The path without `.`: one way to write each file. (`..` stays: behind a link it is not what it
/// seems to be.)
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
