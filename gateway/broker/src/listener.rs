//! Sockets: the bound on connections, and the sweep of what time ends.

use crate::connection;
use crate::inner::{Inner, Stop};
use crate::limits::TURNED_AWAY_MAX;
use crate::stats::count;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// After an accept that failed, the next is tried so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Retained messages are looked through for expired ones once in so many seconds.
const RETAINED_SWEEP_S: u64 = 60;

/// A connection counts until its task ends, however it ends.
struct Counted(Arc<Inner>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes connections until the broker stops.
pub(crate) async fn run(inner: Arc<Inner>, listener: TcpListener) {
    let mut stop = inner.stop.subscribe();
    if *stop.borrow() > Stop::Running {
        return;
    }
    inner.opens();
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    let mut seconds = 0u64;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => take(&inner, stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    // Out of file descriptors, mostly: others must close first.
                    pause = ACCEPT_PAUSE;
                }
            },
            _ = sweep.tick() => {
                inner.sweep_sessions();
                seconds += 1;
                if seconds.is_multiple_of(RETAINED_SWEEP_S) {
                    inner.retained.sweep();
                }
            }
            _ = stop.changed() => return,
        }
        if !pause.is_zero() {
            tokio::time::sleep(std::mem::take(&mut pause)).await;
        }
    }
}

fn take(inner: &Arc<Inner>, stream: TcpStream) {
    let before = inner.counters.connections.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(inner.clone());
    let full = before >= inner.config.connections_max;
    if before >= inner.config.connections_max + TURNED_AWAY_MAX {
        count(&inner.counters.turned_away, 1);
        return;
    }
    let inner = inner.clone();
    tokio::spawn(async move {
        connection::serve(stream, inner, full).await;
        drop(counted);
    });
}
