//! One connection: HTTP/1.1 or HTTP/2, as the client begins it, and how alive it is.
//!
//! A connection has no timer of its own. It counts what happens on it, in plain cells; the
//! listener looks at the counts from time to time and ends connections that are idle, that do not
//! finish a request head, or whose client does not read.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Peer;
use super::reply::Reply;

/// The most bytes of an HTTP/2 request head: a key of 1 KiB takes three times that,
/// percent-encoded.
const HTTP2_HEAD_BYTES_MAX: u32 = 16 << 10;

/// The most header lines of a request.
const HEADERS_MAX: usize = 64;

/// What is read ahead of an HTTP/1.1 client, in bytes, and the most that a request head may have.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// The most requests of one HTTP/2 client at once.
const HTTP2_STREAMS_MAX: u32 = 64;

/// What is queued for one HTTP/2 request whose client does not read, in bytes.
const HTTP2_SEND_BYTES_MAX: usize = 64 << 10;

/// Answers requests: one port's own router.
pub(super) trait Route: 'static {
    /// Answers one request; never fails, since a failure is an answer too.
    fn answer(&self, peer: Peer, request: Request<Incoming>) -> impl Future<Output = Reply>;
}

/// Speaks HTTP over `stream` until it ends.
pub(super) async fn serve<S, R>(stream: S, peer: Peer, route: Rc<R>, activity: Rc<Activity>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: Route,
{
    let service = service_fn(|request: Request<Incoming>| {
        let running = Running::begin(&activity, request.version());
        let route = Rc::clone(&route);
        async move {
            let reply = route.answer(peer, request).await;
            drop(running);
            Ok::<_, Infallible>(reply)
        }
    });
    let builder = builder();
    let counted = Counted {
        stream,
        activity: Rc::clone(&activity),
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(counted), service));
    let mut finishing = false;
    poll_fn(|context| {
        activity.wake_by(context.waker());
        match activity.order.get() {
            Order::Drop => return Poll::Ready(()),
            Order::Finish if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            Order::Serve | Order::Finish => {}
        }
        connection.as_mut().poll(context).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, %peer.address, "an HTTP connection ended early");
            }
        })
    })
    .await;
}

fn builder() -> auto::Builder<LocalExecutor> {
    let mut builder = auto::Builder::new(LocalExecutor);
    builder
        .http1()
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_AHEAD_BYTES);
    builder
        .http2()
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
        .max_header_list_size(HTTP2_HEAD_BYTES_MAX);
    builder
}

/// Runs HTTP/2 streams on the node's thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// What happens on a connection, and what the listener wants of it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that this node is working on.
    running: Cell<u32>,
    /// Requests begun and pieces written, ever.
    progress: Cell<u64>,
    /// Whether something of the next request has come, over HTTP/1.
    half_read: Cell<bool>,
    http2: Cell<bool>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    /// Whether the client does not take what is written.
    unread: Cell<bool>,
    /// `progress` at the last look, and for how many looks it has been the same.
    seen: Cell<u64>,
    quiet: Cell<u32>,
    /// Whether something was half done at the last look.
    half_done: Cell<bool>,
}

/// What the listener wants of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Order {
    #[default]
    Serve,
    Finish,
    Drop,
}

impl Activity {
    /// Answers what has come, and ends.
    pub(super) fn finish(&self) {
        self.order_to(Order::Finish);
    }

    /// Looks whether the connection is of use; to be called at a steady pace. Ends it if half a
    /// request or an unread response has not moved between two looks, or if it has been idle for
    /// `idle_looks`.
    pub(super) fn look(&self, idle_looks: u32) {
        let half_read = self.half_read.get() && !self.http2.get();
        let half_done = half_read || self.unread.get();
        let was_half_done = self.half_done.replace(half_done);
        let progress = self.progress.get();
        if self.running.get() > 0 || progress != self.seen.replace(progress) {
            self.quiet.set(0);
            return;
        }
        let quiet = self.quiet.get() + 1;
        self.quiet.set(quiet);
        if quiet >= idle_looks || (half_done && was_half_done) {
            self.order_to(Order::Drop);
        }
    }

    fn order_to(&self, order: Order) {
        self.order.set(order);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn wake_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn moved(&self) {
        self.progress.set(self.progress.get() + 1);
    }
}

/// A request that this node is working on.
struct Running(Rc<Activity>);

impl Running {
    fn begin(activity: &Rc<Activity>, version: Version) -> Self {
        activity.running.set(activity.running.get() + 1);
        activity.moved();
        activity.half_read.set(false);
        activity.http2.set(version == Version::HTTP_2);
        Self(Rc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

/// A stream that counts.
struct Counted<S> {
    stream: S,
    activity: Rc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > filled {
            self.activity.half_read.set(true);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Counted<S> {
    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.unread.set(polled.is_pending());
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.activity.moved();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
