//! The streams of a connection: control messages, and requests with their replies.
//!
//! Buffers are bounded by the limits of [`crate::wire`]. Dropping the half that receives sends STOP_SENDING, which is
//! how a request is withdrawn: of what has come whole the end is read too, so that nothing is sent for it.

use super::endpoint::Connection;
use crate::swarm::Urgency;
use crate::wire::{self, Decoded, Hello, Message, ReplyHeader, Request, StreamKind, WireError};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt as _;
use quinn::{RecvStream, SendStream};

/// Priority of control streams: above any content.
const CONTROL: i32 = 100;
/// Bytes of the beginning of a reply that are taken at once: what follows is taken block by block.
const BEGINNING: usize = 4 * 1024;

/// Why a stream ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection, or the other side's reset.
    #[error("{0}")]
    Read(#[from] quinn::ReadError),
    /// It ended in the middle.
    #[error("the stream ended early")]
    Short,
    /// The connection, or the other side stopped it.
    #[error("{0}")]
    Write(#[from] quinn::WriteError),
    /// The connection is gone.
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    /// The other side broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Wire(#[from] WireError),
}

impl StreamError {
    /// Whether the other side is to blame for bytes that make no sense.
    pub fn is_protocol(&self) -> bool {
        matches!(self, Self::Wire(_))
    }
}

/// The priority of content that is needed so soon.
pub fn priority(urgency: Urgency) -> i32 {
    match urgency {
        Urgency::Urgent => 2,
        Urgency::Near => 1,
        Urgency::Far => 0,
    }
}

/// Opens the control stream of a swarm. The caller sends [`Message::Hello`] first.
pub async fn open_control(connection: &Connection) -> Result<(ControlWriter, ControlReader), StreamError> {
    let (mut send, recv) = connection.quinn().open_bi().await?;
    // It fails only on a closed stream, which the write will tell.
    let _ = send.set_priority(CONTROL);
    send.write_all(&[StreamKind::Control as u8]).await?;
    Ok((
        ControlWriter { send },
        ControlReader {
            recv,
            buffer: BytesMut::new(),
            last: 0,
        },
    ))
}

/// Sends a request; what comes back is the beginning of its reply.
pub async fn open_request(connection: &Connection, request: &Request) -> Result<Reply, StreamError> {
    connection.expect_content();
    let (mut send, recv) = connection.quinn().open_bi().await?;
    let mut bytes = BytesMut::with_capacity(1 + wire::REQUEST_LEN);
    bytes.extend_from_slice(&[StreamKind::Request as u8]);
    request.encode(&mut bytes);
    let _ = send.set_priority(CONTROL);
    send.write_all(&bytes).await?;
    // Already finished is the only failure.
    let _ = send.finish();
    Ok(Reply {
        recv,
        buffer: BytesMut::new(),
        block: Vec::new(),
        filled: 0,
    })
}

/// A stream that the other side opened.
#[derive(Debug)]
pub enum Incoming {
    /// The control stream of some swarm: the first message says which.
    Control(ControlWriter, ControlReader),
    /// A request, and where its reply goes.
    Request(Request, SendStream),
}

/// Reads what a stream that was accepted is for. `None` for kinds of a later version.
async fn incoming(mut send: SendStream, mut recv: RecvStream) -> Result<Option<Incoming>, StreamError> {
    let mut kind = [0];
    read_exact(&mut recv, &mut kind).await?;
    match StreamKind::from_byte(kind[0]) {
        Some(StreamKind::Control) => {
            let _ = send.set_priority(CONTROL);
            Ok(Some(Incoming::Control(
                ControlWriter { send },
                ControlReader {
                    recv,
                    buffer: BytesMut::new(),
                    last: 0,
                },
            )))
        }
        Some(StreamKind::Request) => {
            let mut bytes = [0; wire::REQUEST_LEN];
            read_exact(&mut recv, &mut bytes).await?;
            see_end(&mut recv);
            match Request::decode(&bytes)? {
                Decoded::Value(request, _) => Ok(Some(Incoming::Request(request, send))),
                Decoded::NeedMore(_) => Err(StreamError::Short),
            }
        }
        None => {
            let _ = send.reset(quinn::VarInt::from_u32(1));
            Ok(None)
        }
    }
}

/// Waits for the next stream; its first bytes are read by the future that comes back, which may run beside others.
pub async fn accept_stream(
    connection: &Connection,
) -> Result<impl Future<Output = Result<Option<Incoming>, StreamError>> + Send + use<>, StreamError> {
    let (send, recv) = connection.quinn().accept_bi().await?;
    Ok(incoming(send, recv))
}

/// Reads the end of a stream if that has come with the last bytes.
fn see_end(recv: &mut RecvStream) {
    // Whatever else there is ends with the stream, when it is dropped.
    let _ = recv.read_chunk(1, true).now_or_never();
}

async fn read_exact(recv: &mut RecvStream, buffer: &mut [u8]) -> Result<(), StreamError> {
    recv.read_exact(buffer).await.map_err(|e| match e {
        quinn::ReadExactError::FinishedEarly(_) => StreamError::Short,
        quinn::ReadExactError::ReadError(e) => e.into(),
    })
}

/// The half of a control stream that sends.
#[derive(Debug)]
pub struct ControlWriter {
    send: SendStream,
}

impl ControlWriter {
    /// Sends a message.
    pub async fn send(&mut self, message: &Message) -> Result<(), StreamError> {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes)?;
        self.send.write_all(&bytes).await?;
        Ok(())
    }
}

impl ControlWriter {
    /// Sends bytes as they are: for tests of what hostile peers may send.
    #[doc(hidden)]
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.send.write_all(bytes).await?;
        Ok(())
    }
}

/// The half of a control stream that receives.
#[derive(Debug)]
pub struct ControlReader {
    recv: RecvStream,
    buffer: BytesMut,
    last: usize,
}

impl ControlReader {
    /// Bytes of the message that came last.
    pub fn last_len(&self) -> usize {
        self.last
    }

    /// The first message; `None` when the other side ended the stream without any.
    pub async fn hello(&mut self) -> Result<Option<Hello>, StreamError> {
        self.take(Message::decode_hello).await
    }

    /// The next message; `None` when the other side ended the stream between messages.
    pub async fn next(&mut self) -> Result<Option<Message>, StreamError> {
        self.take(Message::decode).await
    }

    async fn take<T>(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<Decoded<T>, WireError>,
    ) -> Result<Option<T>, StreamError> {
        loop {
            if let Decoded::Value(message, used) = decode(&self.buffer)? {
                self.buffer.advance(used);
                self.last = used;
                return Ok(Some(message));
            }
            match self.recv.read_chunk(64 * 1024, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(StreamError::Short),
            }
        }
    }
}

/// The reply to a request, as it arrives.
#[derive(Debug)]
pub struct Reply {
    recv: RecvStream,
    /// Of the beginning.
    buffer: BytesMut,
    /// The block at hand, and how much of it has come: each block is copied once, into its own memory.
    block: Vec<u8>,
    filled: usize,
}

impl Reply {
    /// Its beginning: whether blocks follow, and the hashes that prove them. `blocks` is what was asked for.
    pub async fn header(&mut self, blocks: u32) -> Result<ReplyHeader, StreamError> {
        loop {
            if let Decoded::Value(header, used) = ReplyHeader::decode(&self.buffer, blocks)? {
                self.buffer.advance(used);
                return Ok(header);
            }
            let chunk = self.recv.read_chunk(BEGINNING, true).await?;
            self.buffer
                .extend_from_slice(&chunk.ok_or(StreamError::Short)?.bytes);
        }
    }

    /// The next block, which has `len` bytes. What has come of it is kept when this is given up.
    pub async fn block(&mut self, len: usize) -> Result<Bytes, StreamError> {
        if self.block.len() != len {
            self.block = vec![0; len];
            self.filled = 0;
        }
        let early = self.buffer.len().min(len - self.filled);
        self.buffer
            .copy_to_slice(&mut self.block[self.filled..self.filled + early]);
        self.filled += early;
        while self.filled < len {
            let more = self.recv.read(&mut self.block[self.filled..]).await?;
            self.filled += more.ok_or(StreamError::Short)?;
        }
        self.filled = 0;
        Ok(std::mem::take(&mut self.block).into())
    }

    /// The next block, if all of it has come already.
    pub fn ready_block(&mut self, len: usize) -> Result<Option<Bytes>, StreamError> {
        self.block(len).now_or_never().transpose()
    }

    /// Nothing more is wanted of it: all blocks have come.
    pub fn end(&mut self) {
        see_end(&mut self.recv);
    }

    /// Bytes that were received and not taken yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() + self.filled
    }
}

/// Sends the beginning of a reply.
pub async fn send_reply_header(send: &mut SendStream, header: &ReplyHeader) -> Result<(), StreamError> {
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes);
    send.write_all(&bytes).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Endpoint, Identity};
    use crate::swarm::BlockRun;
    use std::net::{Ipv4Addr, SocketAddr};

    /// Answers a request of one block.
    async fn serve(connection: &Connection) {
        let stream = accept_stream(connection).await.unwrap().await.unwrap();
        let Some(Incoming::Request(_, mut send)) = stream else {
            panic!("a request, not {stream:?}");
        };
        let header = ReplyHeader {
            status: wire::ReplyStatus::Ok,
            leaves: vec![[1; 32]],
            uncles: Vec::new(),
        };
        send_reply_header(&mut send, &header).await.unwrap();
        send.write_all(&[2; 100]).await.unwrap();
        send.finish().unwrap();
    }

    #[tokio::test]
    async fn what_came_whole_is_not_stopped() {
        gate::install_crypto_provider();
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let [node, asker] = [(); 2].map(|()| Endpoint::bind(local, &Identity::generate().unwrap()).unwrap());
        let accepting = async { node.accept().await.unwrap().finish(false).await };
        let dialling = asker.connect(node.local_addr().unwrap(), None);
        let (ours, theirs) = tokio::join!(dialling, accepting);
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap().unwrap());
        for _ in 0..3 {
            let request = Request {
                swarm: [7; 32],
                run: BlockRun::new(0, 0, 1),
                urgency: Urgency::Far,
                slack: None,
            };
            let asking = async {
                let mut reply = open_request(&ours, &request).await.unwrap();
                reply.header(1).await.unwrap();
                assert_eq!(reply.block(100).await.unwrap().len(), 100);
                reply.end();
            };
            tokio::join!(asking, serve(&theirs));
        }
        let stopped = [&ours, &theirs].map(|side| side.quinn().stats().frame_tx.stop_sending);
        assert_eq!(stopped, [0, 0]);
    }
}
