//! What this program is when it was started by itself: a child that conditions a creative ([`crate::conditioning`]), or one that codes for bridges ([`crate::bridge`]).

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{bridge, conditioning};

/// Whether these arguments (with the program's name) are those of a child: then [`child_main`] is to be called before
/// anything else is done.
pub fn is_child(args: impl IntoIterator<Item = OsString>) -> bool {
    let mark = args.into_iter().nth(1);
    mark.is_some_and(|mark| mark == conditioning::MARK || mark == bridge::MARK)
}

/// The whole life of a child process, from its arguments (with the program's name).
pub fn child_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().skip(1);
    let (mark, what) = (args.next(), args.next().unwrap_or_default());
    if mark.is_some_and(|mark| mark == bridge::MARK) {
        bridge::child_main(&what.to_string_lossy())
    } else {
        conditioning::child_main(&what)
    }
}
