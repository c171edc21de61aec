//! What waits to be written to one client. Lives on the worker's thread: plain cells, no locks.

use bytes::{Buf, Bytes};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::AsyncWrite;

/// Frames per vectored write.
const BATCH: usize = 32;

/// A queue that has grown beyond this gives its memory back when it is empty.
const KEPT_CAPACITY: usize = 8;

#[derive(Debug)]
pub(crate) struct Outbox {
    frames: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    limit: usize,
    /// The first frame has been written in part, so nothing else may go before its rest.
    in_frame: Cell<bool>,
    /// The last frames, of a close that was decided; nothing is pushed behind them.
    last: Cell<Option<usize>>,
    task: RefCell<Option<Waker>>,
}

/// More waits for this client than it may: close the connection. A frame dropped in silence would be a gap that nobody
/// sees.
#[derive(Debug)]
pub(crate) struct SlowConsumer;

impl Outbox {
    /// `limit`: the most bytes that may wait.
    pub(crate) fn new(limit: usize) -> Outbox {
        Outbox {
            frames: RefCell::default(),
            bytes: Cell::new(0),
            limit,
            in_frame: Cell::new(false),
            last: Cell::new(None),
            task: RefCell::default(),
        }
    }

    /// Queues a frame. Never waits. After a close was decided, frames are dropped.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), SlowConsumer> {
        if self.last.get().is_some() {
            return Ok(());
        }
        let bytes = self.bytes.get() + frame.len();
        // A single frame above the limit may pass: it was accepted elsewhere, and the client may read fast.
        if bytes > self.limit && self.bytes.get() > 0 {
            return Err(SlowConsumer);
        }
        self.bytes.set(bytes);
        self.frames.borrow_mut().push_back(frame);
        self.wake();
        Ok(())
    }

    /// Queues the last frames; what waits before them is written first, or dropped.
    pub(crate) fn finish(&self, last: impl IntoIterator<Item = Bytes>, flush: bool) {
        if self.last.get().is_some() {
            return;
        }
        if !flush {
            self.drop_waiting(0);
        }
        let mut frames = self.frames.borrow_mut();
        let before = frames.len();
        frames.extend(last);
        self.last.set(Some(frames.len() - before));
        drop(frames);
        self.count();
        self.wake();
    }

    /// Drops what waits, but for a frame that is half written and the last frames.
    pub(crate) fn discard(&self) {
        self.drop_waiting(self.last.get().unwrap_or(0));
    }

    /// Whether a close was decided.
    pub(crate) fn is_finished(&self) -> bool {
        self.last.get().is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.borrow().is_empty()
    }

    /// Whether the next byte on the socket must be this outbox's.
    pub(crate) fn in_frame(&self) -> bool {
        self.in_frame.get()
    }

    /// Asks to be woken when something is pushed.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// Writes as much as the socket takes; ready when nothing is left. Counts the frames written out.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        socket: &mut S,
        written: &mut dyn FnMut(u64, u64),
    ) -> Poll<io::Result<()>> {
        let mut frames = self.frames.borrow_mut();
        while !frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); BATCH];
            let used =
                frames.iter().zip(&mut slices).map(|(frame, slice)| *slice = IoSlice::new(frame)).count();
            let mut bytes = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..used]))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.set(self.bytes.get().saturating_sub(bytes));
            let (total, mut finished) = (bytes as u64, 0);
            while let Some(frame) = frames.front_mut().filter(|frame| bytes >= frame.len()) {
                bytes -= frame.len();
                frames.pop_front();
                finished += 1;
            }
            self.in_frame.set(bytes > 0);
            if let Some(frame) = frames.front_mut() {
                frame.advance(bytes);
            }
            written(finished, total);
        }
        if frames.capacity() > KEPT_CAPACITY {
            *frames = VecDeque::new();
        }
        drop(frames);
        Pin::new(socket).poll_flush(cx)
    }

    fn drop_waiting(&self, keep_last: usize) {
        let mut frames = self.frames.borrow_mut();
        let first = usize::from(self.in_frame.get());
        let end = frames.len().saturating_sub(keep_last);
        if first < end {
            frames.drain(first..end);
        }
        drop(frames);
        self.count();
    }

    fn count(&self) {
        self.bytes.set(self.frames.borrow().iter().map(Bytes::len).sum());
    }

    fn wake(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Writes into a pipe that takes `room` bytes, and reads what has arrived.
    async fn write(outbox: &Outbox, room: usize) -> String {
        let (mut near, mut far) = tokio::io::duplex(room);
        poll_fn(|cx| {
            let _ = outbox.poll_write(cx, &mut near, &mut |_, _| {});
            Poll::Ready(())
        })
        .await;
        drop(near);
        let mut read = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut far, &mut read).await.expect("read from the pipe");
        read
    }

    #[tokio::test]
    async fn frames_are_written_in_order() {
        let outbox = Outbox::new(100);
        for text in ["one ", "two ", "three "] {
            outbox.push(frame(text)).expect("room");
        }
        assert_eq!(write(&outbox, 100).await, "one two three ");
        assert!(outbox.is_empty() && !outbox.in_frame());
        assert_eq!(outbox.bytes.get(), 0);
    }

    #[tokio::test]
    async fn a_full_outbox_refuses_but_takes_one_frame_of_any_size() {
        let outbox = Outbox::new(4);
        outbox.push(frame("longer than four")).expect("the first");
        assert!(outbox.push(frame("x")).is_err());
    }

    #[tokio::test]
    async fn a_frame_that_is_half_written_is_finished_before_the_last_ones() {
        let outbox = Outbox::new(100);
        outbox.push(frame("half")).expect("room");
        outbox.push(frame("dropped")).expect("room");
        assert_eq!(write(&outbox, 2).await, "ha");
        assert!(outbox.in_frame());
        outbox.finish([frame("error"), frame("close")], false);
        outbox.push(frame("late")).expect("dropped in silence");
        assert_eq!(write(&outbox, 100).await, "lferrorclose");
    }

    #[tokio::test]
    async fn what_waits_before_a_close_can_still_be_discarded() {
        let outbox = Outbox::new(100);
        outbox.push(frame("event")).expect("room");
        outbox.finish([frame("error"), frame("close")], true);
        outbox.discard();
        assert_eq!(write(&outbox, 100).await, "errorclose");
    }
}
