//! A slice that several threads write.

use std::marker::PhantomData;

/// An output slice that several threads write disjoint parts of.
pub struct Shared<'a, O> {
    start: *mut O,
    length: usize,
    _type: PhantomData<&'a mut [O]>,
}

// SAFETY: it is the mutable slice it was made from, which may go to other threads; `slice` asks its
// callers to take disjoint parts.
unsafe impl<O: Send> Sync for Shared<'_, O> {}

impl<'a, O> Shared<'a, O> {
    pub fn new(output: &'a mut [O]) -> Self {
        Self { start: output.as_mut_ptr(), length: output.len(), _type: PhantomData }
    }

    /// # Safety
    ///
    /// No two slices that overlap may exist at a time.
    #[expect(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, start: usize, length: usize) -> &mut [O] {
        assert!(start <= self.length && length <= self.length - start);
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
