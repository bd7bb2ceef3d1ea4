//! The HTTP side: `/metrics`, `/healthz`, `/readyz`. Runs on a thread of its own with a single-threaded tokio;
//! reads counters, touches no shard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::Fault;
use crate::limits;

/// What the handlers read.
pub struct Sources {
    /// The text of `/metrics`, made anew for each scrape.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether the daemon takes connections: set when it listens, cleared when it drains.
    pub ready: Arc<AtomicBool>,
}

/// The running HTTP thread.
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Binds `address` and serves until dropped.
    pub fn start(address: SocketAddr, sources: Sources) -> Result<Self, Fault> {
        let fault = |e: std::io::Error| {
            Fault::new(format!(
                "cannot listen for HTTP on {address}: {e}; choose another with --http"
            ))
        };
        let listener = std::net::TcpListener::bind(address).map_err(fault)?;
        listener.set_nonblocking(true).map_err(fault)?;
        let bound = listener.local_addr().map_err(fault)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fault)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let listener = match TcpListener::from_std(listener) {
                        Ok(listener) => listener,
                        Err(error) => return tracing::error!(%error, "HTTP listener lost"),
                    };
                    // A slow scraper must not hold up the daemon's end: no graceful wait for open requests.
                    tokio::select! {
                        () = serve(listener, routes(Arc::new(sources))) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(fault)?;
        Ok(Self {
            address: bound,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only if the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread panicked");
        }
    }
}

/// Accepts for ever. Whoever opens connections and asks nothing must not take the files that clients need.
async fn serve(listener: TcpListener, routes: Router) {
    let room = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    connection(stream, routes).await;
                    drop(place);
                });
            }
            // Of one connection, or for want of files: those that are open may end meanwhile.
            Err(error) => {
                tracing::debug!(%error, "HTTP cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection to its end.
async fn connection(stream: TcpStream, routes: Router) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HTTP_HEAD_MS_MAX))
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let life = Duration::from_millis(limits::HTTP_CONNECTION_MS_MAX);
    if let Ok(Err(error)) = timeout(life, served).await {
        tracing::debug!(%error, "a connection of HTTP ended");
    }
}

fn routes(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(sources)
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (sources.metrics)(),
    )
        .into_response()
}

async fn readiness(State(sources): State<Arc<Sources>>) -> Response {
    if sources.ready.load(Ordering::Acquire) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not accepting connections\n").into_response()
    }
}
