//! Traces that outlive a process: the identity of the current span as a line of text, to be put into a header, a
//! column or an annotation, and found again at the other end (W3C Trace Context, the header `traceparent`).
//!
//! Where nobody records traces, every function here does next to nothing: there is no identity, and whatever is found
//! at the other end is left alone. What is found is never trusted with more than being an identity.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Name of the header.
pub const TRACEPARENT: &str = "traceparent";

/// The identity of the span that this is called in.
pub fn current() -> Option<String> {
    of(&Span::current())
}

/// The identity of a span. `None` where nobody records it.
pub fn of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes a span, which must not have been entered yet, part of the work with that identity. Anything else than an
/// identity changes nothing.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent.filter(|identity| !identity.is_empty()) else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    // Fails where nobody records the span, which is as well.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const IDENTITY: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn recorded<T>(test: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), test)
    }

    #[test]
    fn a_span_belongs_to_the_work_that_it_follows() {
        recorded(|| {
            let span = tracing::info_span!("intake");
            follow(&span, Some(IDENTITY));
            let identity = of(&span).unwrap();
            assert_eq!(identity[..36], IDENTITY[..36], "the same trace");
            assert_ne!(identity, IDENTITY, "another span");
            span.in_scope(|| assert_eq!(current(), Some(identity)));
        });
    }

    #[test]
    fn what_is_no_identity_changes_nothing() {
        recorded(|| {
            for found in [None, Some(""), Some("x"), Some("00-0-0-01"), Some(&"0".repeat(10_000))] {
                let span = tracing::info_span!("intake");
                follow(&span, found);
                assert!(of(&span).is_some_and(|identity| identity.len() == IDENTITY.len()), "{found:?}");
            }
        });
    }

    #[test]
    fn where_nobody_records_there_is_no_identity() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let span = tracing::info_span!("intake");
            follow(&span, Some(IDENTITY));
            assert_eq!(span.in_scope(current), None);
        });
    }
}
