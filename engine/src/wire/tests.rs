use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
    ]
}

fn run() -> impl Strategy<Value = BlockRun> {
    (any::<u32>(), any::<u32>(), 1..=u32::MAX)
        .prop_filter("ends below the largest index", |(_, first, count)| {
            first.checked_add(*count).is_some()
        })
        .prop_map(|(file, first, count)| BlockRun::new(file, first, count))
}

fn claim() -> impl Strategy<Value = Claim> {
    (any::<u32>(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        |(piece, claimer, forwarded, retracted)| Claim {
            piece: PieceIndex(piece),
            claimer,
            forwarded,
            retracted,
        },
    )
}

fn kind() -> impl Strategy<Value = MetadataKind> {
    prop_oneof![
        Just(MetadataKind::Info),
        any::<u32>().prop_map(|file| MetadataKind::PieceLayer(FileIndex(file))),
    ]
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn message() -> impl Strategy<Value = Message> {
    let extension = ("[a-z]{0,64}", bytes(100));
    let hello = (
        any::<u16>(),
        any::<[u8; 32]>(),
        any::<u16>(),
        prop::option::of(address()),
        prop::collection::vec(extension, 0..5),
    );
    prop_oneof![
        hello.prop_map(|(version, swarm, listen_port, observed, extensions)| {
            Message::Hello(Hello {
                version,
                swarm,
                listen_port,
                observed,
                extensions,
            })
        }),
        prop::collection::vec(run(), 0..50).prop_map(Message::Have),
        Just(Message::Choke),
        Just(Message::Unchoke),
        prop::collection::vec(address(), 0..=MAX_ADDRESSES).prop_map(Message::PeerExchange),
        prop::collection::vec(claim(), 0..50).prop_map(Message::Claims),
        (any::<[u8; 32]>(), address()).prop_map(|(peer, address)| Message::Dial { peer, address }),
        bytes(1_000).prop_map(Message::CueSheet),
        (kind(), any::<u32>(), 0..=MAX_METADATA as u32)
            .prop_map(|(kind, offset, length)| Message::MetadataRequest { kind, offset, length }),
        (kind(), any::<u32>(), any::<u32>(), bytes(1_000)).prop_map(|(kind, offset, total, data)| {
            Message::Metadata {
                kind,
                offset,
                total,
                data,
            }
        }),
        any::<bool>().prop_map(|noted| Message::Delivered { noted }),
        (11u8..).prop_map(Message::Unknown),
    ]
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(message in message(), rest in bytes(10)) {
        let mut buf = BytesMut::new();
        message.encode(&mut buf).unwrap();
        let len = buf.len();
        for short in 0..len {
            match Message::decode(&buf[..short]).unwrap() {
                Decoded::NeedMore(more) => prop_assert!(more > short && more <= len),
                Decoded::Value(..) => prop_assert!(false, "a value from {short} of {len} bytes"),
            }
        }
        buf.extend_from_slice(&rest);
        prop_assert_eq!(Message::decode(&buf).unwrap(), Decoded::Value(message, len));
    }

    #[test]
    fn requests_come_back_as_they_were(
        swarm in any::<[u8; 32]>(),
        file in any::<u32>(),
        first in 0..u32::MAX - MAX_RUN_BLOCKS,
        count in 1..=MAX_RUN_BLOCKS,
        urgency in prop_oneof![Just(Urgency::Urgent), Just(Urgency::Near), Just(Urgency::Far)],
        slack in prop::option::of(0u32..u32::MAX),
    ) {
        let run = BlockRun::new(file, first, count);
        let slack = slack.map(|ms| Duration::from_millis(ms.into()));
        let request = Request { swarm, run, urgency, slack };
        let mut buf = BytesMut::new();
        request.encode(&mut buf);
        prop_assert_eq!(buf.len(), REQUEST_LEN);
        prop_assert_eq!(Request::decode(&buf[..REQUEST_LEN - 1]).unwrap(), Decoded::NeedMore(REQUEST_LEN));
        prop_assert_eq!(Request::decode(&buf).unwrap(), Decoded::Value(request, REQUEST_LEN));
    }

    #[test]
    fn replies_come_back_as_they_were(
        leaves in prop::collection::vec(any::<[u8; 32]>(), 1..=MAX_RUN_BLOCKS as usize),
        uncles in prop::collection::vec(any::<[u8; 32]>(), 0..=MAX_UNCLES),
    ) {
        let header = ReplyHeader { status: ReplyStatus::Ok, leaves, uncles };
        let mut buf = BytesMut::new();
        header.encode(&mut buf);
        let blocks = header.leaves.len() as u32;
        for short in 0..buf.len() {
            let decoded = ReplyHeader::decode(&buf[..short], blocks).unwrap();
            prop_assert!(matches!(decoded, Decoded::NeedMore(more) if more > short && more <= buf.len()));
        }
        let len = buf.len();
        prop_assert_eq!(ReplyHeader::decode(&buf, blocks).unwrap(), Decoded::Value(header, len));
    }

    #[test]
    fn random_bytes_never_panic(mut buf in prop::collection::vec(any::<u8>(), 0..300), blocks in any::<u32>()) {
        let _ = Request::decode(&buf);
        let _ = ReplyHeader::decode(&buf, blocks);
        let _ = Message::decode(&buf);
        // As a whole message too, so that the fields are reached.
        let length = (buf.len() as u32).to_be_bytes();
        buf.splice(0..0, length);
        let whole = buf.len();
        if let Ok(decoded) = Message::decode(&buf) {
            prop_assert!(matches!(decoded, Decoded::Value(_, used) if used == whole));
        }
    }

    #[test]
    fn a_broken_message_is_an_error_and_no_panic(message in message(), cut in 1usize..50, at in any::<usize>(), byte in any::<u8>()) {
        let mut buf = BytesMut::new();
        message.encode(&mut buf).unwrap();
        let mut body = buf.split_off(4);
        let at = at % body.len();
        body[at] = byte;
        body.truncate(body.len().saturating_sub(cut).max(1));
        let mut whole = BytesMut::new();
        whole.put_u32(body.len() as u32);
        whole.extend_from_slice(&body);
        if let Ok(decoded) = Message::decode(&whole) {
            prop_assert!(matches!(decoded, Decoded::Value(..)));
        }
    }
}

/// The bytes were made by another program, from PROTOCOL.md alone.
#[test]
fn the_bytes_are_those_of_the_protocol() {
    const SWARM: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let swarm = std::array::from_fn(|i| i as u8);
    let v4 = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let v6 = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port));
    let claim = |piece, claimer, forwarded| Claim {
        piece: PieceIndex(piece),
        claimer,
        forwarded,
        retracted: !forwarded,
    };
    let hello = Message::Hello(Hello {
        version: 1,
        swarm,
        listen_port: 6881,
        observed: Some(v4(4242)),
        extensions: vec![("personal".into(), Bytes::from_static(&[0xaa, 0xbb]))],
    });
    let messages = [
        (
            hello,
            format!("0000003a000001{SWARM}1ae104c000020110920108706572736f6e616c0002aabb"),
        ),
        (
            Message::Have(vec![BlockRun::new(0, 5, 2), BlockRun::new(1, 0, 300)]),
            "000000190100000000000000050000000200000001000000000000012c".into(),
        ),
        (Message::Choke, "0000000102".into()),
        (Message::Unchoke, "0000000103".into()),
        (
            Message::PeerExchange(vec![v4(1), v6(2)]),
            "0000001c040204c000020100010620010db80000000000000000000000010002".into(),
        ),
        (
            Message::Claims(vec![claim(7, 0x0102_0304_0506_0708, true), claim(8, 9, false)]),
            "0000001b050000000701020304050607080100000008000000000000000902".into(),
        ),
        (
            Message::Dial {
                peer: swarm,
                address: v6(65_535),
            },
            format!("0000003406{SWARM}0620010db8000000000000000000000001ffff"),
        ),
        (
            Message::CueSheet(Bytes::from_static(b"abc")),
            "000000080700000003616263".into(),
        ),
        (
            Message::MetadataRequest {
                kind: MetadataKind::PieceLayer(FileIndex(2)),
                offset: 3,
                length: 65_536,
            },
            "0000000e0801000000020000000300010000".into(),
        ),
        (
            Message::Metadata {
                kind: MetadataKind::Info,
                offset: 16_384,
                total: 70_000,
                data: Bytes::from_static(b"abc"),
            },
            "00000015090000000000000040000001117000000003616263".into(),
        ),
        (Message::Delivered { noted: true }, "000000020a01".into()),
    ];
    for (message, expected) in messages {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes).unwrap();
        assert_eq!(hex::encode(&bytes), expected, "{message:?}");
        assert_eq!(Message::decode(&bytes), Ok(Decoded::Value(message, bytes.len())));
    }
    let request = |count, urgency, slack: Option<u64>| {
        let mut bytes = BytesMut::new();
        Request {
            swarm,
            run: BlockRun::new(1, 2, count),
            urgency,
            slack: slack.map(Duration::from_millis),
        }
        .encode(&mut bytes);
        hex::encode(bytes)
    };
    assert_eq!(
        request(64, Urgency::Near, Some(1_500)),
        format!("{SWARM}0000000100000002004001000005dc")
    );
    assert_eq!(
        request(1, Urgency::Far, None),
        format!("{SWARM}0000000100000002000102ffffffff")
    );
    let mut reply = BytesMut::new();
    ReplyHeader {
        status: ReplyStatus::Ok,
        leaves: vec![[0x11; 32], [0x22; 32]],
        uncles: vec![[0x33; 32]],
    }
    .encode(&mut reply);
    let hashes = ["11", "22", "33"].map(|byte| byte.repeat(32)).concat();
    assert_eq!(hex::encode(reply), format!("0001{hashes}"));
}

#[test]
fn refusals_are_one_byte() {
    for (byte, status) in [
        (1, ReplyStatus::Refused(RefuseReason::Choked)),
        (2, ReplyStatus::Refused(RefuseReason::NotHeld)),
        (3, ReplyStatus::Refused(RefuseReason::Busy)),
        (4, ReplyStatus::Refused(RefuseReason::Invalid)),
        (5, ReplyStatus::UnknownSwarm),
    ] {
        let mut buf = BytesMut::new();
        ReplyHeader::no(status).encode(&mut buf);
        assert_eq!(buf[..], [byte]);
        assert_eq!(
            ReplyHeader::decode(&buf, 4),
            Ok(Decoded::Value(ReplyHeader::no(status), 1))
        );
    }
}

#[test]
fn lengths_above_their_limits_are_named() {
    let error = |bytes: &[u8]| Message::decode(bytes).unwrap_err().to_string();
    assert_eq!(
        error(&[0xff; 8]),
        "message of 4294967295 exceeds the limit of 262144"
    );
    assert_eq!(
        error(&[0, 0, 0, 0]),
        "the message ends in the middle of message type"
    );
    assert_eq!(
        error(&[0, 0, 0, 2, PEER_EXCHANGE, 65]),
        "addresses of 65 exceeds the limit of 64"
    );
    assert_eq!(
        error(&[0, 0, 0, 3, PEER_EXCHANGE, 1, 5]),
        "kind of address cannot be 5"
    );
    let mut have = vec![0, 0, 0, 13, HAVE];
    have.extend([0; 12]);
    assert_eq!(error(&have), "number of blocks cannot be 0");
    let reply = ReplyHeader::decode(&[0, 33], 4).unwrap_err();
    assert_eq!(reply.to_string(), "uncle hashes of 33 exceeds the limit of 32");
    assert!(
        Message::PeerExchange(vec![([1, 2, 3, 4], 5).into(); 65])
            .encode(&mut BytesMut::new())
            .is_err()
    );
}

#[test]
fn a_stream_begins_with_a_hello_that_is_not_long() {
    let error = |bytes: &[u8]| Message::decode_hello(bytes).unwrap_err().to_string();
    let long = |kind| [&(MAX_HELLO as u32 + 1).to_be_bytes()[..], &[kind]].concat();
    assert_eq!(error(&long(HELLO)), "hello of 16385 exceeds the limit of 16384");
    assert_eq!(error(&long(HAVE)), "the type of the first message cannot be 1");
    assert_eq!(
        Message::decode(&long(HAVE)),
        Ok(Decoded::NeedMore(4 + MAX_HELLO + 1))
    );
    let hello = |values: usize| {
        Message::Hello(Hello {
            version: VERSION,
            swarm: [7; 32],
            listen_port: 1,
            observed: None,
            extensions: vec![(String::new(), vec![0; MAX_EXTENSION_VALUE].into()); values],
        })
    };
    let mut bytes = BytesMut::new();
    hello(3).encode(&mut bytes).unwrap();
    assert!(matches!(Message::decode_hello(&bytes), Ok(Decoded::Value(_, used)) if used == bytes.len()));
    assert!(hello(4).encode(&mut bytes).is_err());
}

#[test]
fn what_later_versions_add_is_skipped() {
    let unknown = [0, 0, 0, 3, 200, 1, 2];
    assert_eq!(
        Message::decode(&unknown),
        Ok(Decoded::Value(Message::Unknown(200), 7))
    );
    let longer_choke = [0, 0, 0, 3, CHOKE, 1, 2];
    assert_eq!(
        Message::decode(&longer_choke),
        Ok(Decoded::Value(Message::Choke, 7))
    );
    assert_eq!(StreamKind::from_byte(2), None);
}

#[test]
fn many_haves_are_several_messages() {
    let runs = vec![BlockRun::new(0, 0, 1); MAX_HAVE_RUNS + 1];
    let messages = Message::haves(&runs);
    assert_eq!(messages.len(), 2);
    for message in messages.iter().chain(&Message::haves(&[])) {
        message.encode(&mut BytesMut::new()).unwrap();
    }
}
