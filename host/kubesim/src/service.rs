//! HTTP requests in, verbs out.
use std::sync::Arc;
use std::task::{Context, Poll};
use std::convert::Infallible;
use kube::client::Body;
use crate::store::Store;
use crate::workloads::Running;
/// What the API answers with.
pub type ApiResponse = http::Response<Body>;
/// The API as a tower service.
#[derive(Clone)]
pub struct ApiService { _store: Store, _running: Arc<Running> }
impl ApiService { pub(crate) fn new(store: Store, running: Arc<Running>) -> Self { Self { _store: store, _running: running } } }
impl tower::Service<http::Request<Body>> for ApiService {
    type Response = ApiResponse;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<ApiResponse, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> { Poll::Ready(Ok(())) }
    fn call(&mut self, _: http::Request<Body>) -> Self::Future { todo!() }
}
