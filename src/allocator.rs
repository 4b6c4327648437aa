//! What the allocator of the C library does with large pieces of memory, when they are freed.
//!
//! Those of 128 KiB and more get pages of their own at first, which go back to the system. But with each that is freed that limit grows to its size, up to 32 MiB, and so does what is kept for later ones, in each
//! thread's own part of the memory: splicing a video held some 15 MB that nothing used. A limit that is set stays.
//!
//! The only file with unsafe code, of which there is one call.
#![allow(unsafe_code)]

/// From how many bytes on memory goes back to the system.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 1 << 20;

/// Has large pieces of memory go back to the system as soon as they are freed. To be called before there are other threads.
pub(crate) fn return_large() {
    // SAFETY: it takes two numbers, and no other thread may be changing or reading these settings yet.
    #[cfg(target_env = "gnu")]
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) } == 1;
    #[cfg(target_env = "gnu")]
    if !is_set {
        tracing::debug!("the allocator keeps large pieces of memory");
    }
}
