//! Memory that is given back stays with the process.

/// Has the allocator keep what is freed for what is allocated next. Without, every large value of a network is new
/// memory of the system, which it clears page by page: that can take longer than the value is computed in.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Larger blocks are the system's: the allocator takes no larger bound.
        const LARGEST: libc::c_int = 32 << 20;
        /// What stays at the end of the heap.
        const KEPT: libc::c_int = 256 << 20;
        // SAFETY: `mallopt` may be called at any time, with any values.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}
