//! (interface first)
#![allow(clippy::todo)]
use std::time::Duration;
use crate::{Settings, failure::Failure, observe::Observed, resource::CustomResource};
/// Reconciles one resource at a time.
pub struct Reconciler {}
impl Reconciler {
    /// A reconciler.
    pub fn new(_client: kube::Client, _plugins: senren_engine::Plugins, _settings: Settings) -> Self { todo!() }
    /// One step.
    pub async fn reconcile(&self, _resource: CustomResource, _observed: &Observed) -> Result<Option<Duration>, Failure> { todo!() }
}
