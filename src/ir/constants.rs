//! The constants of a graph, each content stored once.

use std::sync::Arc;

use indexmap::IndexMap;

use super::names::Names;
use crate::tensor::{DType, Tensor};

/// A constant of one [`Constants`] pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConstId(u32);

/// Type, sizes and hash of the bytes.
pub(super) type Key = (DType, Vec<usize>, [u8; 32]);

/// Constants interned by content. The first name a content came under is the one it is printed
/// with; names are unique in the pool.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    entries: IndexMap<Key, (Arc<str>, Arc<Tensor>)>,
    names: Names,
}

impl Constants {
    /// Interns a tensor; `name` is a wish, made unique by a suffix if another content has it.
    pub fn intern(&mut self, name: &str, tensor: Tensor) -> ConstId {
        let key = (tensor.dtype(), tensor.sizes().to_vec(), tensor.content_hash());
        let index = match self.entries.get_index_of(&key) {
            Some(index) => index,
            None => {
                let name = self.names.fresh(name).into();
                self.entries.insert_full(key, (name, Arc::new(tensor))).0
            }
        };
        // A pool of 2^32 distinct tensors does not fit in memory.
        ConstId(index as u32)
    }

    pub fn tensor(&self, id: ConstId) -> &Arc<Tensor> {
        &self.entries[id.0 as usize].1
    }

    pub fn name(&self, id: ConstId) -> &str {
        &self.entries[id.0 as usize].0
    }

    /// What tells a constant from others, in this pool and in any: NaNs are equal by their bits.
    pub(super) fn content(&self, id: ConstId) -> Option<&Key> {
        self.entries.get_index(id.0 as usize).map(|(key, _)| key)
    }
}
