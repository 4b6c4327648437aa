//! Which was first: that a result got its name, or that a person stopped the command. Whoever is second keeps to it, so that a command that says it
//! was stopped leaves no result behind, and one that leaves a result says that it is done.
//!
//! Not for: what is kept of a result that is not whole (`partial`, the store).

use std::io;
use std::sync::{Arc, OnceLock};

/// The question for one result. Its copies have one answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placing(Arc<OnceLock<bool>>);

impl Placing {
    /// For whoever made the result, right before it gets its name: an error when it was stopped before.
    pub(crate) fn begin(&self) -> io::Result<()> {
        if *self.0.get_or_init(|| true) {
            Ok(())
        } else {
            Err(io::Error::other("it was stopped"))
        }
    }

    /// Whether it was stopped before: then nothing more need be made for it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.get() == Some(&false)
    }

    /// For whoever is told to stop: whether there will be no result.
    pub(crate) fn stop(&self) -> bool {
        !*self.0.get_or_init(|| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_first_decides() {
        let placed = Placing::default();
        assert!(!placed.is_stopped(), "nobody has said anything");
        // A link that cannot be made is followed by a copy.
        for _ in 0..2 {
            placed.clone().begin().expect("nobody stopped it");
        }
        assert!(!placed.stop() && !placed.is_stopped());
        let stopped = Placing::default();
        assert!(stopped.clone().stop() && stopped.stop());
        assert!(stopped.is_stopped());
        stopped.begin().expect_err("it was stopped");
    }
}
