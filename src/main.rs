//! The `grove` command.
fn main() {}
