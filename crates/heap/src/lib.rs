//! Returns the free memory of the C library's heap to the operating system.
//!
//! glibc returns only what is free at the end of its heap. After a peak, such as thousands of
//! connections at once, a few allocations that remain keep most of it.

/// Returns what is free. Other threads that allocate may wait for some milliseconds.
///
/// Does nothing where the C library is not glibc.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` may be called at any time from any thread. It does not touch memory
    // that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
