//! Plugins: load, verify, cache, limit, call. (interface first; the bodies follow)
#![allow(clippy::todo, missing_docs)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[allow(missing_docs, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plugin",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

/// The types of `senren:plugin/controller`; `json` is a `String`.
pub mod wit {
    pub use crate::bindings::exports::senren::plugin::controller::{
        Answer, ApiKind, Ask, Change, Child, Condition, Descriptor, Endpoint, Event, Fault, FieldChange, Input,
        Outcome, ResourceType, SecretRequest, SecretState, Status, Violation,
    };
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub memory_bytes: usize,
    pub table_elements: usize,
    pub output_bytes: usize,
    pub deadline: Duration,
    pub queue: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            output_bytes: 4 << 20,
            deadline: Duration::from_secs(1),
            queue: 1024,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct EngineConfig {
    pub threads: usize,
    pub limits: Limits,
    pub cache_dir: Option<PathBuf>,
}

#[derive(Clone)]
pub struct Engine;
impl Engine {
    pub fn new(_config: EngineConfig) -> anyhow::Result<Engine> {
        todo!()
    }
    pub fn load(&self, _origin: &str, _wasm: &[u8]) -> Result<Plugin, LoadError> {
        todo!()
    }
}

#[derive(Clone)]
pub struct Plugin;
impl Plugin {
    pub fn digest(&self) -> &str {
        todo!()
    }
    pub fn descriptor(&self) -> &wit::Descriptor {
        todo!()
    }
    pub fn types(&self) -> &[ResourceType] {
        todo!()
    }
    pub async fn admit(
        &self,
        _type_name: &str,
        _spec: &str,
    ) -> Result<Result<String, Vec<wit::Violation>>, CallError> {
        todo!()
    }
    pub async fn diff(
        &self,
        _type_name: &str,
        _current: Option<&str>,
        _desired: Option<&str>,
    ) -> Result<wit::Change, CallError> {
        todo!()
    }
    pub async fn reconcile(&self, _input: wit::Input) -> Result<wit::Outcome, CallError> {
        todo!()
    }
}

#[derive(Clone)]
pub struct ResourceType {
    pub wit: wit::ResourceType,
    pub schema: senren_schema::Schema,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    #[error("the plugin trapped: {message}")]
    Trap { message: String },
    #[error("the plugin did not answer within {deadline:?}")]
    Timeout { deadline: Duration },
    #[error("the plugin exceeded a limit: {message}")]
    Limit { message: String },
    #[error("{}", .0.message)]
    Fault(wit::Fault),
    #[error("the plugin's answer makes no sense: {message}")]
    BadAnswer { message: String },
    #[error("too many plugin calls are waiting")]
    Overloaded,
    #[error("the engine is shutting down")]
    Stopped,
}
impl CallError {
    pub fn reason(&self) -> &str {
        todo!()
    }
    pub fn retryable(&self) -> bool {
        todo!()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct LoadError {
    pub origin: String,
    pub message: String,
}

pub struct Served {
    pub plugin: Plugin,
    pub resource_type: ResourceType,
}
#[derive(Default)]
pub struct PluginSet;
impl PluginSet {
    pub fn load_dir(_engine: &Engine, _dir: &Path) -> (PluginSet, Vec<LoadProblem>) {
        todo!()
    }
    pub fn of(_plugins: Vec<Plugin>) -> (PluginSet, Vec<LoadProblem>) {
        todo!()
    }
    pub fn get(&self, _type_name: &str) -> Option<&Served> {
        todo!()
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Served)> {
        std::iter::empty()
    }
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        std::iter::empty()
    }
}
#[derive(Debug, Clone)]
pub struct LoadProblem {
    pub file: PathBuf,
    pub message: String,
}

#[derive(Clone)]
pub struct Plugins;
impl Plugins {
    pub fn new(_set: PluginSet) -> Plugins {
        todo!()
    }
    pub fn current(&self) -> Arc<PluginSet> {
        todo!()
    }
    pub fn swap(&self, _set: PluginSet) {
        todo!()
    }
}
