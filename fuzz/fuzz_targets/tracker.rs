//! What trackers answer: bounded, and never an address that is none.
#![no_main]

use engine::tracker::client::{INTERVALS, MAX_PEERS, parse_response};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    [
        &b"d8:completei2e10:incompletei3e8:intervali60e12:min intervali7e5:peers12:\x7f\0\0\x01\x1a\xe1\x7f\0\0\x01\0\0\
           6:peers618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe110:tracker id1:x15:warning message2:hie"[..],
        b"d5:peersld2:ip9:127.0.0.14:porti80eed2:ip9:localhost4:porti80eee8:intervali1ee\n",
        b"d11:external ip4:\xc0\x00\x02\x015:peers0:e",
        b"d14:failure reason4:nopee",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    if let Ok(answer) = parse_response(data) {
        assert!(answer.peers.len() <= MAX_PEERS);
        assert!(answer.interval >= INTERVALS.0 && answer.interval <= INTERVALS.1);
        assert!(answer.min_interval <= answer.interval);
        for peer in &answer.peers {
            assert!(peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast());
        }
        assert!(answer.warning.is_none_or(|text| text.chars().count() <= 200 && !text.contains('\n')));
    }
});
