//! Which answers are trouble that may pass. Pure.

use reqwest::StatusCode;

/// Whether a server that answers this may answer well another time, to the very same request: it is in trouble (5xx), has too much to do (429)
/// or lost patience with the request (408). What a refusal such as 403 or 404 means depends on what was asked for, and is for who asked.
pub fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_may_pass_and_refusals_do_not() {
        let passes = |code| may_pass(StatusCode::from_u16(code).unwrap());
        assert!([408, 429, 500, 502, 503, 504, 599].into_iter().all(passes));
        let others = [200, 206, 301, 304, 400, 401, 403, 404, 410, 416, 451];
        assert!(!others.into_iter().any(passes));
    }
}
