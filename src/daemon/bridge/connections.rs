//! HTTP/1.1: connections within their bounds, requests read, answers written, CORS.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Failure;
use super::answer::Answers;
use super::request::Endpoint;
use crate::limits;

/// Accepts for ever.
pub(super) async fn serve(listener: std::net::TcpListener, answers: Rc<Answers>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "listener of the bridge lost"),
    };
    let room = Arc::new(Semaphore::new(limits::BRIDGE_CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let answers = Rc::clone(&answers);
                tokio::task::spawn_local(async move {
                    answers.metrics().connections.increment();
                    connection(stream, peer, &answers).await;
                    answers.metrics().connections.decrement();
                    drop(place);
                });
            }
            // Of one connection, or for want of files: those that are open may end meanwhile.
            Err(error) => {
                tracing::debug!(%error, "the bridge cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection to its end.
async fn connection(stream: TcpStream, peer: SocketAddr, answers: &Rc<Answers>) {
    let service = service_fn(|request| async {
        let response = respond(answers, peer.ip(), request).await;
        Ok::<_, Infallible>(response)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::BRIDGE_HEAD_MS_MAX))
        .max_buf_size(limits::BRIDGE_HEAD_BYTES_MAX);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let life = Duration::from_millis(limits::BRIDGE_CONNECTION_MS_MAX);
    let ended = match timeout(life, served.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            served.as_mut().graceful_shutdown();
            let last = Duration::from_millis(limits::BRIDGE_BODY_MS_MAX);
            timeout(last, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection of the bridge ended");
    }
}

async fn respond(answers: &Answers, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    answers.metrics().requests.increment();
    let endpoint = Endpoint::of(request.uri().path());
    let failed = |failure: Failure| told(failure.status(), answers.failed(endpoint, failure).to_string());
    if !answers.admits(peer) {
        return failed(Failure::TooMany);
    }
    if request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let Some(wanted) = endpoint.filter(|_| request.method() == Method::POST) else {
        return failed(Failure::NotFound);
    };
    let body = match body_of(request.into_body()).await {
        Ok(body) => body,
        Err(failure) => return failed(failure),
    };
    match answers.answer(wanted, &body).await {
        Ok(answer) => told(200, answer.to_string()),
        Err(failure) => failed(failure),
    }
}

async fn body_of(mut incoming: Incoming) -> Result<Vec<u8>, Failure> {
    if incoming.size_hint().lower() > limits::BRIDGE_BODY_BYTES_MAX as u64 {
        return Err(Failure::TooLarge);
    }
    let read = async {
        let mut body = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
            let Ok(frame) = frame else {
                return Err(Failure::BadRequest("the body is broken"));
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if body.len() + data.len() > limits::BRIDGE_BODY_BYTES_MAX {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&data);
        }
        Ok(body)
    };
    let patience = Duration::from_millis(limits::BRIDGE_BODY_MS_MAX);
    timeout(patience, read).await.unwrap_or(Err(Failure::TooSlow))
}

/// A page of any origin may ask: what it is given it has shown a secret for, and nothing here goes by cookies.
fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

/// What a browser asks before it lets a page send a request of its own kind (Fetch, 3.2.2).
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(headers);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, OPTIONS"),
    );
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let wanted = wanted.map_or(HeaderValue::from_static("content-type"), HeaderValue::clone);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(
        header::VARY,
        HeaderValue::from_static("access-control-request-headers"),
    );
    response
}

fn told(status: u16, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    allow(headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    // It may hold a secret.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
