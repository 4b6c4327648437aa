//! A UDP socket of a server: what it answers leaves from the address that was asked. A machine may have several, and the one to which its routes
//! would have an answer leave is not always that one; clients and routers in between hear nothing from another.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Room for all datagrams of one sender that the system hands over at once.
pub(super) const ROOM: usize = 64 << 10;

/// Datagrams that came together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// Whose they are.
    pub(super) from: SocketAddr,
    /// Which of our addresses they were sent to, where the system says it.
    pub(super) at: Option<IpAddr>,
    len: usize,
    /// The length of each; the last may be shorter.
    each: usize,
}

impl Heard {
    /// They themselves, out of the buffer that they were put into.
    pub(super) fn datagrams<'a>(&self, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        buffer[..self.len].chunks(self.each.max(1))
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// The next datagrams; the buffer has [`ROOM`].
    pub(super) async fn hear(&self, buffer: &mut [u8]) -> io::Result<Heard> {
        let mut meta = [RecvMeta::default()];
        let receive = || {
            let mut buffers = [IoSliceMut::new(buffer)];
            self.state.recv((&self.socket).into(), &mut buffers, &mut meta)
        };
        self.socket.async_io(Interest::READABLE, receive).await?;
        let [meta] = meta;
        Ok(Heard {
            from: meta.addr,
            at: meta.dst_ip,
            len: meta.len,
            each: meta.stride,
        })
    }

    /// Sends a datagram from one of our addresses, once there is room for it.
    pub(super) async fn say(&self, data: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        let send = || self.send(data, to, from);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// The same, unless there is no room now.
    pub(super) fn try_say(&self, data: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.socket
            .try_io(Interest::WRITABLE, || self.send(data, to, from))
    }

    fn send(&self, contents: &[u8], destination: SocketAddr, src_ip: Option<IpAddr>) -> io::Result<()> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }
}
