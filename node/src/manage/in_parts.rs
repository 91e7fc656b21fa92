//! A connection that takes little at a time. The kernel may give a CPU to nobody else before a system call is over; of an
//! answer of a megabyte, one call would hold up a worker that wants the CPU for longer than a request takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much as one call writes, bytes: some microseconds of the kernel's.
const PART: usize = 16 * 1024;

/// Writes at most a part at once.
#[derive(Debug)]
pub(super) struct InParts<S>(pub(super) S);

fn part(bytes: &[u8]) -> &[u8] {
    bytes.get(..PART).unwrap_or(bytes)
}

impl<S: AsyncRead + Unpin> AsyncRead for InParts<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InParts<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, part(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        if whole <= PART {
            return Pin::new(&mut self.0).poll_write_vectored(cx, parts);
        }
        let first = parts.iter().find(|part| !part.is_empty());
        self.poll_write(cx, first.map_or(&[], |first| first))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn one_call_writes_a_part_and_nothing_is_lost() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut ours = InParts(ours);
        let whole: Vec<u8> = (0..=250).cycle().take(3 * PART + 5).collect();
        let (head, body) = whole.split_at(7);
        let few = [IoSlice::new(&[]), IoSlice::new(head), IoSlice::new(body)];
        assert_eq!(ours.write_vectored(&few).await.unwrap(), head.len());
        assert_eq!(ours.write(body).await.unwrap(), PART);
        ours.write_all(body.get(PART..).unwrap()).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert!(read == whole);
    }
}
