//! What peers send: nothing takes more than arrived, what is understood can be said again, and nothing is asked for
//! beyond the limits.
#![no_main]

use bytes::{Bytes, BytesMut};
use engine::swarm::{BlockRun, Claim, FileIndex, PieceIndex, Urgency};
use engine::wire::{Decoded, Hello, MAX_MESSAGE, Message, MetadataKind, ReplyHeader, ReplyStatus, Request};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let address = "192.0.2.1:4000".parse().expect("an address");
    let claim = Claim {
        piece: PieceIndex(3),
        claimer: 9,
        forwarded: true,
        retracted: false,
    };
    let kind = MetadataKind::PieceLayer(FileIndex(1));
    let messages = [
        Message::Hello(Hello {
            version: 1,
            swarm: [7; 32],
            listen_port: 4000,
            observed: Some(address),
            extensions: vec![("x".to_owned(), Bytes::from_static(b"y"))],
        }),
        Message::Have(vec![BlockRun::new(0, 1, 2), BlockRun::new(1, 0, 9)]),
        Message::Choke,
        Message::Unchoke,
        Message::PeerExchange(vec![address, "[2001:db8::1]:1".parse().expect("an address")]),
        Message::Claims(vec![claim]),
        Message::Dial { peer: [1; 32], address },
        Message::CueSheet(Bytes::from_static(b"de")),
        Message::MetadataRequest {
            kind,
            offset: 1,
            length: 2,
        },
        Message::Metadata {
            kind,
            offset: 1,
            total: 9,
            data: Bytes::from_static(b"abc"),
        },
    ];
    let mut seeds: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let mut bytes = BytesMut::from(&[0][..]);
            message.encode(&mut bytes).expect("short");
            bytes.to_vec()
        })
        .collect();
    let mut bytes = BytesMut::from(&[1][..]);
    let request = Request {
        swarm: [7; 32],
        run: BlockRun::new(0, 3, 4),
        urgency: Urgency::Near,
        slack: None,
    };
    request.encode(&mut bytes);
    seeds.push(bytes.to_vec());
    let mut bytes = BytesMut::from(&[2, 2][..]);
    let header = ReplyHeader {
        status: ReplyStatus::Ok,
        leaves: vec![[1; 32]; 2],
        uncles: vec![[2; 32]],
    };
    header.encode(&mut bytes);
    seeds.push(bytes.to_vec());
    seeds
}

/// Checks how much of the buffer an answer takes; gives the value and what is left.
fn taken<T>(decoded: Decoded<T>, data: &[u8], most: usize) -> Option<(T, &[u8])> {
    match decoded {
        Decoded::Value(value, used) => {
            assert!(used > 0 && used <= data.len());
            Some((value, &data[used..]))
        }
        Decoded::NeedMore(want) => {
            assert!(want > data.len() && want <= most, "{want} of {}", data.len());
            None
        }
    }
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    match data {
        [0, rest @ ..] => {
            let mut rest = rest;
            while let Ok(decoded) = Message::decode(rest) {
                let Some((message, left)) = taken(decoded, rest, MAX_MESSAGE + 4) else { break };
                let mut bytes = BytesMut::new();
                message.encode(&mut bytes).expect("what was understood can be said");
                let again = Message::decode(&bytes).expect("what was said is understood");
                assert_eq!(again, Decoded::Value(message, bytes.len()));
                rest = left;
            }
        }
        [1, rest @ ..] => {
            if let Ok(decoded) = Request::decode(rest)
                && let Some((request, _)) = taken(decoded, rest, engine::wire::REQUEST_LEN)
            {
                let mut bytes = BytesMut::new();
                request.encode(&mut bytes);
                assert_eq!(Request::decode(&bytes), Ok(Decoded::Value(request, bytes.len())));
            }
        }
        [_, blocks, rest @ ..] => {
            let blocks = u32::from(*blocks);
            if let Ok(decoded) = ReplyHeader::decode(rest, blocks)
                && let Some((header, _)) = taken(decoded, rest, 2 + 96 * 32)
            {
                let mut bytes = BytesMut::new();
                header.encode(&mut bytes);
                assert_eq!(ReplyHeader::decode(&bytes, blocks), Ok(Decoded::Value(header, bytes.len())));
            }
        }
        _ => {}
    }
});
