//! The `ad-server-mock` command.
fn main() {}
