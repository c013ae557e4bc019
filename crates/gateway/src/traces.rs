//! Traces, exported by OpenTelemetry's protocol: a span per event of a client, from its
//! arrival until its answer is handed over, linked with the batch that stored it.
//!
//! Spans exist only while traces are exported. Otherwise no code asks for one: what an event
//! costs is a comparison.

mod client;

use std::sync::Arc;
use std::time::Duration;

use chat_domain::{BoxError, RoomId};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use self::client::Client;
use crate::metrics::EventName;
use crate::socket::reply::Code;

pub use self::client::{InvalidEndpoint, TraceEndpoint};

/// The target of all spans that are exported, here and in the adapters. Nothing else has it.
pub(crate) const TARGET: &str = "chat_trace";

/// How long a shutdown waits until the last spans are exported.
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);

/// Whether spans are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traces {
    /// They are, so events have spans.
    On,
    /// They are not, so there are none.
    #[default]
    Off,
}

impl Traces {
    /// Reads the caller's trace from the headers `traceparent` and `tracestate`.
    pub(crate) fn parent(self, headers: &http::HeaderMap) -> Option<Context> {
        if self == Self::Off {
            return None;
        }
        let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        context.span().span_context().is_valid().then_some(context)
    }

    /// Creates the span of an event that has arrived.
    pub(crate) fn event(
        self,
        name: Option<&str>,
        room_id: Option<RoomId>,
        parent: Option<&Context>,
    ) -> Span {
        if self == Self::Off {
            return Span::none();
        }
        let span = tracing::info_span!(
            target: TARGET,
            parent: None,
            "event",
            otel.name = EventName::of(name).name(),
            otel.kind = "server",
            otel.status_code = Empty,
            chat.room_id = room_id.map(RoomId::get),
            chat.outcome = Empty,
        );
        if let Some(parent) = parent {
            // It cannot fail: the span is new.
            span.set_parent(parent.clone()).ok();
        }
        span
    }
}

/// Notes in an event's span how the event was answered.
pub(crate) fn answered(span: &Span, outcome: Result<(), Code>) {
    if span.is_none() {
        return;
    }
    let name = match outcome {
        Ok(()) => "ok",
        Err(code) => code.name(),
    };
    span.record("chat.outcome", name);
    // A refusal is the client's error, except for these.
    if let Err(Code::Internal | Code::Unavailable | Code::OutcomeUnknown) = outcome {
        span.record("otel.status_code", "ERROR");
    }
}

/// Exports spans in the background. When too many wait, further ones are dropped.
pub(crate) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts exporting. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system has no trusted certificates, or one of OpenTelemetry's own variables
    /// is malformed.
    pub(crate) fn start(endpoint: &TraceEndpoint) -> Result<Self, BoxError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint.traces_url())
            .with_http_client(Client::new(endpoint)?)
            .build()?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("chat-gateway");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(provider))
    }

    /// Returns what turns spans into those that are exported.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.tracer("chat-gateway");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.target() == TARGET))
    }

    /// Exports what is left, for at most [`FLUSH_DEADLINE`].
    pub(crate) async fn flush(self) {
        let provider = Arc::new(self.0);
        let flushing = tokio::task::spawn_blocking(move || {
            // A failure is logged where spans are sent.
            provider.shutdown_with_timeout(FLUSH_DEADLINE).ok();
        });
        tokio::time::timeout(2 * FLUSH_DEADLINE, flushing)
            .await
            .ok();
    }
}
