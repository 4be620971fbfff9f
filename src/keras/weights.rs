//! Where a layer's weights are. Three ways of writing them down, and one of asking for them.

use std::collections::BTreeMap;

use super::config::{Layer, Model};
use super::hdf5::Hdf5;
use crate::tensor::Tensor;

/// The weights of a model.
pub enum Weights {
    /// `.h5`: a group for each layer of the outermost model, which lists the names of its weights.
    Named(Hdf5),
    /// The file in a `.keras` archive: groups called after classes, with numbered weights.
    Numbered(Hdf5),
    /// Arrays called after layer and weight.
    Arrays(Vec<(String, Tensor)>),
}

/// The models in which a layer is, outermost first, and the layer itself.
pub type Path<'p> = [(&'p Model, &'p Layer)];

impl Weights {
    /// The weight of a layer: by any of its names, or by its number among those of the layer, or of a part
    /// of it that is not empty, where the file has numbers instead. `None` if the file has none.
    pub fn get(
        &self,
        path: &Path,
        names: &[&str],
        part: &str,
        number: usize,
    ) -> Result<Option<Tensor>, String> {
        let Some((_, outermost)) = path.first() else { return Ok(None) };
        let owners: Vec<&str> = path.iter().map(|(_, layer)| &*layer.name).collect();
        match self {
            Weights::Named(file) => {
                let group = format!("model_weights/{}", outermost.name);
                let listed = file.texts(&group, "weight_names")?.unwrap_or_default();
                let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
                let found = named(&listed, &owners, path.len() == 1, names)?;
                // A layer that names its weights in its own way still has them in order.
                let alone = path.len() == 1 && part.is_empty() && number < listed.len();
                let at = found.or(alone.then_some(number));
                at.map(|at| file.tensor(&format!("{group}/{}", listed[at]))).transpose()
            }
            Weights::Arrays(arrays) => {
                let listed: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
                Ok(named(&listed, &owners, false, names)?.map(|at| arrays[at].1.clone()))
            }
            Weights::Numbered(file) => {
                let mut group = String::new();
                for (model, layer) in path {
                    group = format!(
                        "{group}{}layers/{}",
                        if group.is_empty() { "" } else { "/" },
                        slot(model, layer)
                    );
                }
                // Keras 2 has parts under their names in Python.
                let parts = match part {
                    "" => vec![String::new()],
                    part => vec![format!("/{part}"), format!("/_{part}")],
                };
                let groups = parts.iter().map(|part| format!("{group}{part}/vars"));
                let name = number.to_string();
                let found = groups.into_iter().find(|group| file.datasets(group).contains(&name));
                found.map(|group| file.tensor(&format!("{group}/{name}"))).transpose()
            }
        }
    }
}

/// The place of a weight in a list of names `…/model/layer/…/weight:0`. `owners` are the models and the
/// layer that a name may have before the weight: as many of them as tell one name from all others.
/// `whose` tells that the list is of this layer alone.
fn named(listed: &[&str], owners: &[&str], whose: bool, names: &[&str]) -> Result<Option<usize>, String> {
    let plain: Vec<&str> =
        listed.iter().map(|full| full.rsplit_once(':').map_or(*full, |(plain, _)| plain)).collect();
    let ends = |full: &str, end: &str| {
        full.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    let layer = owners.last().copied().unwrap_or_default();
    for name in names {
        let tails = (0..owners.len()).map(|from| format!("{}/{name}", owners[from..].join("/")));
        let whole = plain.iter().position(|full| Some(*full) == tails.clone().next().as_deref());
        if whole.is_some() {
            return Ok(whole);
        }
        let direct = tails.map(|tail| matches(&plain, |full| ends(full, &tail)));
        // A layer may have parts, which have the weight.
        let inside =
            || matches(&plain, |full| ends(full, name) && format!("/{full}").contains(&format!("/{layer}/")));
        // Some layers name their weights without themselves.
        let alone = || matches(&plain, |full| full == *name || whose && ends(full, name));
        let found = direct.chain([inside(), alone()]).find(|found| !found.is_empty());
        match found.as_deref() {
            None => {}
            Some(&[one]) => return Ok(Some(one)),
            Some(_) => return Err("is in the file more than once".to_owned()),
        }
    }
    Ok(None)
}

fn matches(listed: &[&str], is: impl Fn(&str) -> bool) -> Vec<usize> {
    listed.iter().enumerate().filter(|(_, full)| is(full)).map(|(at, _)| at).collect()
}

/// The name of a layer's group: its class in small letters, with a number from the second on.
fn slot(model: &Model, layer: &Layer) -> String {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for other in &model.layers {
        let name = snake_case(&other.class);
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        if std::ptr::eq(other, layer) {
            return if *count == 1 { name } else { format!("{name}_{}", *count - 1) };
        }
    }
    snake_case(&layer.class)
}

/// `DepthwiseConv2D` as `depthwise_conv2d`, and `PReLU` as `p_re_lu`.
pub(super) fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut out = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let small_behind = chars.get(at + 1).is_some_and(|c| c.is_ascii_lowercase());
        let word = c.is_ascii_uppercase()
            && before.is_some_and(|before| before.is_ascii_lowercase() || (before != '_' && small_behind));
        if word {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_name_groups() {
        for (class, group) in [
            ("Conv2D", "conv2d"),
            ("DepthwiseConv2DTranspose", "depthwise_conv2d_transpose"),
            ("BatchNormalization", "batch_normalization"),
            ("LeakyReLU", "leaky_re_lu"),
            ("PReLU", "p_re_lu"),
            ("Functional", "functional"),
        ] {
            assert_eq!(snake_case(class), group);
        }
    }

    #[test]
    fn weights_are_found_by_the_end_of_their_names() {
        let listed = ["a/kernel:0", "net/b/kernel", "b/bias:0", "net/b_2/bias:0", "c/query/kernel", "d/x/y"];
        let find = |owners: &[&str], names: &[&str]| named(&listed, owners, false, names).unwrap();
        assert_eq!(find(&["a"], &["kernel"]), Some(0));
        assert_eq!(find(&["net", "b"], &["kernel"]), Some(1));
        assert_eq!(find(&["b_2"], &["kernel"]), None);
        assert_eq!(find(&["b_2"], &["offset", "bias"]), Some(3));
        assert_eq!(find(&["c"], &["kernel"]), Some(4));
        assert_eq!(find(&["d"], &["x/y"]), Some(5));
        assert_eq!(named(&["own"], &["e"], true, &["own"]), Ok(Some(0)));
        assert_eq!(named(&["d/own"], &["e"], false, &["own"]), Ok(None));
    }

    #[test]
    fn of_layers_of_one_name_the_models_around_decide() {
        let listed = ["all/one/conv/kernel", "all/two/conv/kernel"];
        let find = |owners: &[&str]| named(&listed, owners, false, &["kernel"]);
        assert_eq!(find(&["all", "two", "conv"]), Ok(Some(1)));
        assert_eq!(find(&["one", "conv"]), Ok(Some(0)));
        assert!(find(&["conv"]).is_err());
    }
}
