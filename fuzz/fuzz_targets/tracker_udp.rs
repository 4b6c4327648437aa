//! What UDP trackers answer, and what clients ask of ours: whatever is read is written back the same.
#![no_main]

use engine::tracker::udp::{Announce, Answer, MAX_PACKET, MAX_PATH, Request};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let answers = [
        Answer::Connect { transaction: 1, connection: 2 },
        Answer::Announce {
            transaction: 3,
            interval: 4,
            leechers: 5,
            seeders: 6,
            peers: vec![([192, 0, 2, 1], 6881).into()],
        },
        Answer::Error { transaction: 7, reason: "no".into() },
    ];
    let requests = [
        Request::Connect { transaction: 1 },
        Request::Scrape { connection: 2, transaction: 3, keys: vec![[4; 20]; 2] },
        Request::Announce {
            connection: 1,
            transaction: 2,
            announce: Announce {
                key: [1; 20],
                peer_id: [2; 20],
                downloaded: 3,
                left: 4,
                uploaded: 5,
                event: None,
                ip: 0,
                key_of_client: 6,
                numwant: -1,
                port: 6881,
                path: "/announce?passkey=x".into(),
            },
        },
    ];
    let answers = answers.iter().map(|answer| answer.encode(true));
    let requests = requests.iter().map(Request::encode);
    // The first byte says the family.
    answers.chain(requests).map(|packet| [&[4], packet.as_slice()].concat()).collect()
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((family, packet)) = data.split_first() else { return };
    let v4 = family % 2 == 0;
    if let Ok(answer) = Answer::decode(packet, v4) {
        if let Answer::Announce { peers, .. } = &answer {
            assert!(peers.iter().all(|peer| peer.is_ipv4() == v4));
        }
        let bytes = answer.encode(v4);
        if packet.len() <= MAX_PACKET {
            assert_eq!(Answer::decode(&bytes, v4), Ok(answer));
        }
    }
    if let Some(request) = Request::decode(packet) {
        // Bytes that are no text become longer ones.
        if matches!(&request, Request::Announce { announce, .. } if announce.path.len() > MAX_PATH) {
            return;
        }
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
});
