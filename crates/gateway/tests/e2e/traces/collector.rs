//! A collector of traces, by OTLP over HTTP.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_test_support::TlsIdentity;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::support::DEADLINE;

/// A collector that runs for as long as this value exists.
pub(super) struct Collector {
    endpoint: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    /// The status of every answer; 0 for none.
    status: AtomicU16,
    requests: AtomicUsize,
    /// How many connections ended before a request, because the client refused TLS.
    refused: AtomicUsize,
    spans: Mutex<Vec<Span>>,
    services: Mutex<Vec<String>>,
}

impl Collector {
    pub(super) async fn start(status: u16) -> Self {
        Self::listen(status, None).await
    }

    /// Starts a collector that speaks TLS.
    pub(super) async fn start_tls(identity: &TlsIdentity) -> Self {
        let config = identity.server_config().unwrap();
        Self::listen(200, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(status: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            status: AtomicU16::new(status),
            requests: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            spans: Mutex::default(),
            services: Mutex::default(),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut serving = JoinSet::new();
        let served = shared.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(accept(stream, tls.clone(), served.clone()));
            }
        });
        Self {
            endpoint: format!("{scheme}://localhost:{port}"),
            shared,
            _serving: serving,
        }
    }

    /// Returns the value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(super) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(super) fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    pub(super) fn services(&self) -> Vec<String> {
        self.shared.services.lock().unwrap().clone()
    }

    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub(super) async fn until_requests(&self, count: usize) {
        let is_met = || self.requests() >= count;
        until("requests arrive", || is_met().then_some(())).await;
    }

    pub(super) async fn until_refused(&self, count: usize) {
        let is_met = || self.shared.refused.load(Ordering::SeqCst) >= count;
        until("the client refuses", || is_met().then_some(())).await;
    }

    /// Waits for the span of an event or a batch.
    pub(super) async fn span(&self, name: &str) -> Span {
        let find = || {
            let spans = self.shared.spans.lock().unwrap();
            spans.iter().find(|span| span.name == name).cloned()
        };
        until(name, find).await
    }

    pub(super) fn spans(&self, name: &str) -> Vec<Span> {
        let spans = self.shared.spans.lock().unwrap();
        spans
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }
}

async fn until<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let finding = async {
        loop {
            match find() {
                Some(found) => return found,
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(DEADLINE, finding).await.expect(what)
}

/// Returns an attribute as text.
pub(super) fn attribute(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|found| found.key == key)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

async fn accept(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let Some(tls) = tls else {
        return serve(stream, shared).await;
    };
    match tls.accept(stream).await {
        Ok(stream) => serve(stream, shared).await,
        Err(_) => {
            shared.refused.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Answers one request.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let status = shared.status.load(Ordering::SeqCst);
    if status == 0 {
        return std::future::pending().await;
    }
    if status == 200 {
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        for traces in request.resource_spans {
            let attributes = traces.resource.unwrap().attributes.into_iter();
            let name = attributes.filter(|found| found.key == "service.name");
            let name = name.filter_map(|found| match found.value?.value? {
                Value::StringValue(text) => Some(text),
                _ => None,
            });
            shared.services.lock().unwrap().extend(name);
            let spans = traces.scope_spans.into_iter().flat_map(|scope| scope.spans);
            shared.spans.lock().unwrap().extend(spans);
        }
    }
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).await.ok();
    stream.get_mut().flush().await.ok();
}
