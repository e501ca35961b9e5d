//! Metrics and health, on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the HTTP listener tells.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) ready: Arc<AtomicBool>,
}

/// Starts counting; `None` where somebody in this process counts already.
pub(crate) fn recorder() -> Option<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().ok()
}

/// Serves until `drain` becomes true.
pub(crate) async fn serve(listener: TcpListener, facts: Facts, mut drain: watch::Receiver<bool>) {
    let ready = Arc::clone(&facts.ready);
    let router = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics(facts.metrics.as_ref()))))
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(move || std::future::ready(readiness(&ready))));
    let stop = async move {
        while !*drain.borrow_and_update() {
            if drain.changed().await.is_err() {
                break;
            }
        }
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "http listener failed");
    }
}

fn metrics(handle: Option<&PrometheusHandle>) -> String {
    handle.map(PrometheusHandle::render).unwrap_or_default()
}

fn readiness(ready: &AtomicBool) -> (StatusCode, &'static str) {
    if ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
