//! Plugin sets, parsed: what each region's types take as a spec. Cached by hash, since regions share few sets and a
//! set never changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use senren_api::v1::PluginInfo;
use senren_schema::Schema;
use sqlx::PgConnection;

use crate::store::heartbeats;

/// More sets than any fleet has at once; beyond, the cache starts afresh.
const MOST: usize = 256;

/// What one or more regions can run.
#[derive(Default)]
pub(crate) struct Plugins {
    /// As reported.
    pub infos: Vec<PluginInfo>,
    schemas: BTreeMap<String, Option<Schema>>,
}

impl Plugins {
    pub(crate) fn of(infos: Vec<PluginInfo>) -> Self {
        let schemas = infos.iter().map(|info| (info.r#type.clone(), schema(info))).collect();
        Self { infos, schemas }
    }

    /// The schema of a type's spec, if it can be read.
    pub(crate) fn schema(&self, type_name: &str) -> Option<&Schema> {
        self.schemas.get(type_name)?.as_ref()
    }
}

/// A schema that we can't read (of a newer plugin, perhaps) must not keep anybody from applying: the region checks
/// again.
fn schema(info: &PluginInfo) -> Option<Schema> {
    let parsed = serde_json::from_str(&info.spec_schema_json).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|json| Schema::parse(&json).map_err(|error| error.to_string()));
    parsed
        .inspect_err(|error| {
            tracing::warn!(
                r#type = info.r#type,
                digest = info.digest,
                error,
                "cannot read a plugin's schema"
            );
        })
        .ok()
}

/// The cache.
#[derive(Clone, Default)]
pub(crate) struct Catalog {
    sets: Arc<Mutex<HashMap<String, Arc<Plugins>>>>,
}

impl Catalog {
    /// The plugin set of that hash.
    pub(crate) async fn get(&self, connection: &mut PgConnection, hash: &str) -> sqlx::Result<Arc<Plugins>> {
        if let Some(plugins) = self.sets.lock().get(hash) {
            return Ok(plugins.clone());
        }
        let Some(infos) = heartbeats::plugins(connection, hash).await? else { return Ok(Arc::default()) };
        let plugins = Arc::new(Plugins::of(infos));
        let mut sets = self.sets.lock();
        if sets.len() >= MOST {
            sets.clear();
        }
        sets.insert(hash.to_owned(), plugins.clone());
        Ok(plugins)
    }
}
