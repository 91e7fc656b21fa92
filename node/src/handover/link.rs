//! The socket pair between the two processes: messages with descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::handover::Message;
use prost::Message as _;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::sockets::{Kind, Origin, Passed};

/// Descriptors beside one message; the system takes 253.
const DESCRIPTORS: usize = 64;

/// The largest message, in bytes: it has to fit into the socket's buffer as a whole.
const PACKET: usize = 64 * 1024;

/// A piece of the state.
const PIECE: usize = PACKET / 2;

/// What can go wrong between two processes.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other one closed its end.
    #[error("it ended")]
    Ended,
    /// Nothing came in time.
    #[error("it did not answer in time")]
    Late,
    /// Something came that does not belong there, or that this release does not know.
    #[error("it said something that this release does not understand")]
    Unknown,
    /// The system refused.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// One end.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Both ends; the other one is for a process that is started with it.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(own), other))
    }

    /// The end that this process was started with; none where the descriptor is something else.
    pub(super) fn of(descriptor: OwnedFd) -> Option<Self> {
        let kind = rustix::net::sockopt::socket_type(&descriptor).ok()?;
        (kind == SocketType::SEQPACKET).then_some(Self(descriptor))
    }

    pub(super) fn send(&self, message: Message) -> Result<(), LinkError> {
        self.send_with(message, &[])
    }

    /// Sends sockets, as many messages as it takes.
    pub(super) fn send_sockets(&self, passed: &[Passed]) -> Result<(), LinkError> {
        for some in passed.chunks(DESCRIPTORS) {
            let sockets = some.iter().map(to_wire).collect();
            let descriptors: Vec<_> = some.iter().map(|passed| passed.socket.as_fd()).collect();
            self.send_with(Message::Sockets(v1::Sockets { sockets }), &descriptors)?;
        }
        Ok(())
    }

    /// Sends a state, piece by piece.
    pub(super) fn send_state(&self, state: &[u8]) -> Result<(), LinkError> {
        state
            .chunks(PIECE)
            .try_for_each(|piece| self.send(Message::State(piece.to_vec())))
    }

    fn send_with(&self, message: Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let packet = v1::Handover {
            message: Some(message),
        }
        .encode_to_vec();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(LinkError::Unknown);
        }
        let packet = [IoSlice::new(&packet)];
        rustix::net::sendmsg(&self.0, &packet, &mut beside, SendFlags::NOSIGNAL).map_err(failed)?;
        Ok(())
    }

    /// The next message, with what came beside it.
    pub(super) fn receive(&self, within: Duration) -> Result<(Message, Vec<Passed>), LinkError> {
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&self.0, timeout, Some(within)).map_err(failed)?;
        let mut packet = vec![0; PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut packet = [IoSliceMut::new(&mut packet)];
            rustix::net::recvmsg(&self.0, &mut packet, &mut beside, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(failed)?;
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(LinkError::Ended);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(LinkError::Unknown);
        }
        let packet = packet.get(..received.bytes).ok_or(LinkError::Unknown)?;
        let message = v1::Handover::decode(packet).map_err(|_| LinkError::Unknown)?;
        let message = message.message.ok_or(LinkError::Unknown)?;
        let none = v1::Sockets::default();
        let told = match &message {
            Message::Sockets(sockets) => sockets,
            Message::Prepared(_)
            | Message::State(_)
            | Message::Open(_)
            | Message::Opened(_)
            | Message::Go(_) => &none,
        };
        let passed = from_wire(told, descriptors)?;
        Ok((message, passed))
    }
}

fn failed(error: rustix::io::Errno) -> LinkError {
    match error {
        rustix::io::Errno::AGAIN => LinkError::Late,
        rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => LinkError::Ended,
        other => LinkError::System(other.into()),
    }
}

fn to_wire(passed: &Passed) -> v1::PassedSocket {
    v1::PassedSocket {
        address: passed.address.to_string(),
        datagrams: passed.kind == Kind::Datagram,
        service_manager: passed.origin == Origin::ServiceManager,
    }
}

fn from_wire(sockets: &v1::Sockets, descriptors: Vec<OwnedFd>) -> Result<Vec<Passed>, LinkError> {
    if sockets.sockets.len() != descriptors.len() {
        return Err(LinkError::Unknown);
    }
    let pairs = sockets.sockets.iter().zip(descriptors);
    pairs
        .map(|(told, socket)| {
            let address: SocketAddr = told.address.parse().map_err(|_| LinkError::Unknown)?;
            Ok(Passed {
                kind: if told.datagrams {
                    Kind::Datagram
                } else {
                    Kind::Stream
                },
                address,
                origin: if told.service_manager {
                    Origin::ServiceManager
                } else {
                    Origin::Node
                },
                socket,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn sockets_state_and_the_end_arrive() {
        let (here, there) = Link::pair().unwrap();
        let there = Link::of(there).unwrap();
        let listeners: Vec<_> = (0..=DESCRIPTORS)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let passed: Vec<_> = listeners
            .iter()
            .map(|listener| Passed {
                kind: Kind::Stream,
                address: listener.local_addr().unwrap(),
                origin: Origin::Node,
                socket: listener.try_clone().unwrap().into(),
            })
            .collect();
        here.send_sockets(&passed).unwrap();
        drop(listeners);
        let mut arrived = Vec::new();
        while arrived.len() < passed.len() {
            arrived.extend(there.receive(SOON).unwrap().1);
        }
        drop(passed);
        let last = arrived.pop().unwrap();
        let client = TcpStream::connect(last.address).unwrap();
        let (_, from) = TcpListener::from(last.socket).accept().unwrap();
        assert_eq!(client.local_addr().unwrap(), from);

        here.send_state(&vec![7; PIECE + 1]).unwrap();
        for length in [PIECE, 1] {
            let (message, _) = there.receive(SOON).unwrap();
            assert!(matches!(message, Message::State(piece) if piece == vec![7; length]));
        }
        let late = there.receive(Duration::from_millis(20)).unwrap_err();
        assert!(matches!(late, LinkError::Late), "{late}");
        drop(here);
        let ended = there.receive(SOON).unwrap_err();
        assert!(matches!(ended, LinkError::Ended), "{ended}");
        assert!(Link::of(TcpListener::bind("127.0.0.1:0").unwrap().into()).is_none());
    }
}
