//! The only maker of HTTP clients and dials: address policy, limits, redirects.
