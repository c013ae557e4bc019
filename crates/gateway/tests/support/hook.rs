//! The product's access hook, which answers as a test demands.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::DEADLINE;

/// How a call is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With status 200 and this JSON.
    Json(Value),
    /// With status 200 and this body.
    Text(String),
    /// With this status, where a redirect leads back here, and an answer that would be valid.
    Status(u16),
    /// With the head of a response alone.
    HeadOnly,
    /// With nothing.
    Silence,
}

/// A call that has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) text: String,
    headers: axum::http::HeaderMap,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// A running hook. Stopped when it is dropped.
pub(crate) struct Hook {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    calls: watch::Sender<Vec<Call>>,
    /// Calls that have arrived are answered while this is set.
    answers: watch::Sender<bool>,
}

impl Hook {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            calls: watch::Sender::default(),
            answers: watch::Sender::new(true),
        });
        let router = Router::new().fallback(respond).with_state(shared.clone());
        let serving = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/access?key=hunter2", self.address)
    }

    /// Changes how further calls are answered.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// Lets calls wait for their answers, or answers them.
    pub(crate) fn hold(&self, holds: bool) {
        self.shared.answers.send_replace(!holds);
    }

    /// Returns the calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.borrow().clone()
    }

    /// Waits until so many calls have arrived.
    pub(crate) async fn arrived(&self, count: usize) {
        let mut calls = self.shared.calls.subscribe();
        let arrived = calls.wait_for(|calls| calls.len() >= count);
        timeout(DEADLINE, arrived).await.unwrap().unwrap();
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn respond(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let call = Call {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        text: String::from_utf8(body.to_vec()).unwrap(),
        headers: head.headers,
    };
    let answer = shared.answer.lock().unwrap().clone();
    shared.calls.send_modify(|calls| calls.push(call));
    let mut answers = shared.answers.subscribe();
    answers.wait_for(|answers| *answers).await.unwrap();
    match answer {
        Answer::Json(json) => json.to_string().into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(LOCATION, "/elsewhere")], r#"{"allow":true}"#).into_response()
        }
        Answer::HeadOnly => {
            let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            Body::from_stream(never).into_response()
        }
        Answer::Silence => std::future::pending().await,
    }
}
