//! The constants of a graph, each content stored once.

use std::collections::HashMap;
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
    /// The entry of a tensor by its address, at which it stays as long as the pool.
    addresses: HashMap<usize, usize>,
    names: Names,
}

impl Constants {
    /// Interns a tensor; `name` is a wish, made unique by a suffix if another content has it.
    pub fn intern(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>) -> ConstId {
        let tensor = tensor.into();
        let address = Arc::as_ptr(&tensor).addr();
        let index = self.addresses.get(&address).copied().unwrap_or_else(|| {
            let key = (tensor.dtype(), tensor.sizes().to_vec(), tensor.content_hash());
            self.entries.get_index_of(&key).unwrap_or_else(|| {
                let name = self.names.fresh(name).into();
                let index = self.entries.insert_full(key, (name, tensor)).0;
                self.addresses.insert(address, index);
                index
            })
        });
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
