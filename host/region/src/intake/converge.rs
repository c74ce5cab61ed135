//! One resource: from what the cluster has to what is desired.
//!
//! Deletes only what carries our region's label and a uid of the control plane's, and only where a state that
//! covers its slot says that it shouldn't be there, or a plugin that it must be replaced. What would lose data by being
//! replaced stays until that is confirmed.

use std::sync::Arc;

use senren_api::ResourceKey;
use senren_engine::{PluginSet, Served, wit::Change};
use serde_json::Value;

use super::{Trouble, admit::of_call};
use crate::{cluster::WriteError, cr::Cr, desired::Desired, memory::Known, plane::Plane};

/// Why a resource can't be brought to what is desired, now or for good.
#[derive(Debug, Clone)]
pub(crate) struct Obstacle {
    trouble: Trouble,
    /// Trying again may help.
    retry: bool,
    /// It is said on the resource at once, not only when it lasts; the state counts as taken in then.
    loud: bool,
}

impl Obstacle {
    /// It will be so until somebody changes something.
    pub fn refused(desired: &Desired, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_phase(desired, "Failed", reason.into(), message.into())
    }

    /// It has to wait for something that will happen, and then it is looked at again.
    fn waits(desired: &Desired, reason: &str, message: String) -> Self {
        Self::with_phase(desired, "Pending", reason.to_owned(), message)
    }

    fn with_phase(desired: &Desired, phase: &'static str, reason: String, message: String) -> Self {
        let Desired { uid, type_name, generation, .. } = desired.clone();
        let trouble = Trouble { uid, type_name, generation, phase, reason, message };
        Self { trouble, retry: false, loud: true }
    }

    /// Trying again may help.
    pub fn passing(self) -> Self {
        Self { retry: true, ..self }
    }

    /// True where trying again may help.
    pub fn passes(&self) -> bool {
        self.retry
    }

    /// What stands against `earlier` going stands against what is desired under its name.
    fn about(self, desired: Option<&Arc<Desired>>, earlier: &Cr) -> Self {
        let Some(desired) = desired else { return self };
        let message = format!(
            "an earlier resource of this name, of type {}, is in the way: {}",
            earlier.type_name, self.trouble.message
        );
        Self { trouble: Self::with_phase(desired, "Pending", self.trouble.reason, message).trouble, ..self }
    }

    /// Something that could not be written. Short failures go unmentioned.
    fn write(trouble: Trouble, error: WriteError) -> Self {
        let (reason, message, loud) = match error {
            WriteError::Refused { reason, message } => (reason, message, true),
            WriteError::Failed(message) => ("KubernetesUnavailable", message, false),
        };
        Self { trouble: Trouble { reason: reason.into(), message, ..trouble }, retry: true, loud }
    }
}

/// Failures in a row before a user hears of it.
const LASTING: u32 = 3;

/// Brings one resource to what is desired; notes what stands against it.
pub(super) async fn one(plane: &Plane, key: &ResourceKey) {
    let (knows, desired) = {
        let all = plane.desired.lock();
        (all.knows(key), all.get(key))
    };
    if !knows {
        plane.retries.settled(key);
        return;
    }
    if desired.is_none() {
        plane.verdicts.forget(key);
    }
    let converged = converge(plane, key, desired.as_ref()).await;
    let farewell = farewell(plane, key).await;
    let retry = farewell.is_err() || converged.as_ref().is_err_and(Obstacle::passes);
    let silent = farewell.is_err() || converged.as_ref().is_err_and(|obstacle| !obstacle.loud);
    let failures = if retry { plane.retries.failed(key, silent) } else { plane.retries.settled(key) };
    match converged {
        Ok(()) => plane.set_trouble(key, None),
        Err(obstacle) if obstacle.loud || failures >= LASTING => {
            plane.set_trouble(key, Some(obstacle.trouble))
        }
        Err(obstacle) => tracing::debug!(resource = %key, failures, "{}", obstacle.trouble.message),
    }
}

async fn converge(plane: &Plane, key: &ResourceKey, desired: Option<&Arc<Desired>>) -> Result<(), Obstacle> {
    let (wanted, unwanted): (Vec<_>, Vec<_>) = plane.crs.of(key).into_iter().partition(|cr| {
        // One that was made by hand under a wanted name is taken over, elsewhere it is left alone.
        desired.is_some_and(|desired| {
            desired.type_name == cr.type_name && (desired.uid == cr.uid || cr.uid.is_empty())
        })
    });
    let mut earlier = None;
    for cr in unwanted.into_iter().filter(|cr| !cr.uid.is_empty()) {
        if let Some(desired) = desired
            && desired.replaces_uid == cr.uid
            && !desired.data_loss_confirmed
            && !cr.deleting
        {
            let change =
                format!("it would become of type {}, in place of {}", desired.type_name, cr.type_name);
            return Err(held(plane, desired, &change));
        }
        if !retire(plane, &cr).await.map_err(|obstacle| obstacle.about(desired, &cr))? {
            earlier = Some(cr);
        }
    }
    match (desired, earlier) {
        (None, _) => Ok(()),
        (Some(desired), Some(earlier)) => Err(Obstacle::waits(
            desired,
            "WaitsForDeletion",
            format!(
                "an earlier resource of this name, of type {}, is still being deleted",
                earlier.type_name
            ),
        )),
        (Some(desired), None) => establish(plane, desired, wanted.into_iter().next()).await,
    }
}

/// Makes the custom resource what is desired.
async fn establish(plane: &Plane, desired: &Arc<Desired>, current: Option<Arc<Cr>>) -> Result<(), Obstacle> {
    let plugins = plane.plugins.current();
    let Some(served) = plugins.get(&desired.type_name) else { return Err(no_plugin(desired, &plugins)) };
    if current.as_ref().is_some_and(|cr| cr.deleting) {
        // Whoever asked for that: it comes again when it is gone. Its own status says how that goes.
        return Ok(());
    }
    let spec = plane.verdicts.admit(served, desired).await?;
    if let Some(cr) = &current {
        if *cr.spec == *spec || plane.verdicts.is_written(&desired.key, cr.kubernetes_generation) {
            let said = cr.uid == desired.uid
                && cr.generation == desired.generation
                && cr.protected == desired.protected;
            if said {
                return Ok(());
            }
        } else if !cr.uid.is_empty()
            && let Some(replacement) = replaces(served, desired, &cr.spec, &spec).await?
        {
            if cr.protected || desired.protected {
                let message = "this change would replace the database, which deletion_protection forbids; turn that off \
                               in an apply of its own first, or undo the change";
                return Err(Obstacle::refused(desired, "DeletionProtected", message));
            }
            if replacement.data_loss && !desired.data_loss_confirmed {
                return Err(held(plane, desired, &replacement.summary));
            }
            tracing::warn!(resource = %desired.key, generation = desired.generation, "replacing");
            retire(plane, cr).await?;
            // Once it is gone we are poked, and make the new one.
            return Ok(());
        }
    }
    let trouble = Obstacle::refused(desired, "", "").trouble;
    let written =
        plane.cluster.apply(desired, &spec).await.map_err(|error| Obstacle::write(trouble, error))?;
    plane.verdicts.wrote(&desired.key, written.kubernetes_generation);
    metrics::counter!("senren_region_custom_resources_written_total").increment(1);
    plane.note(written);
    Ok(())
}

fn no_plugin(desired: &Desired, plugins: &PluginSet) -> Obstacle {
    let served: Vec<&str> = plugins.iter().map(|(name, _)| name).collect();
    let message = format!(
        "no plugin of this region serves type {:?}, only: {}; put its .wasm into the plugin directory. If it is there, \
         `senren regions` says why it is not used",
        desired.type_name,
        if served.is_empty() { "none at all".to_owned() } else { served.join(", ") },
    );
    Obstacle::waits(desired, "NoPlugin", message)
}

/// A replacement that loses data and that nobody confirmed for this generation: what is there runs on as it is.
fn held(plane: &Plane, desired: &Desired, change: &str) -> Obstacle {
    let message = format!(
        "{change}: the database would be made anew, and lose its data. It runs on as it was. To let that happen, run \
         `senren confirm {} --region {}`; otherwise undo the change",
        desired.key.name, plane.region,
    );
    Obstacle::waits(desired, "ReplacementHeld", message)
}

/// Asks what the change means. `None`: it can be made to what is there; otherwise that has to go, for a new one.
async fn replaces(
    served: &Served,
    desired: &Desired,
    before: &Value,
    after: &Value,
) -> Result<Option<Change>, Obstacle> {
    let (before_text, after_text) = (before.to_string(), after.to_string());
    let change = served
        .plugin
        .diff(&desired.type_name, Some(&before_text), Some(&after_text))
        .await
        .map_err(|error| of_call(desired, &error))?;
    let by_plugin = change.fields.iter().map(|field| (field.path.clone(), field.effect.clone()));
    let by_schema = served.resource_type.schema.changes(before, after).into_iter();
    let all = by_plugin.chain(by_schema.map(|field| (field.path, field.effect)));
    let forbidden: std::collections::BTreeSet<String> =
        all.filter(|(_, effect)| effect == "forbidden").map(|(path, _)| path).collect();
    if !forbidden.is_empty() {
        let paths: Vec<String> = forbidden.into_iter().collect();
        let message = format!(
            "type {} does not allow to change {}; the database goes on as it was. Undo the change, or declare a \
             database of another name",
            desired.type_name,
            paths.join(", "),
        );
        return Err(Obstacle::refused(desired, "ForbiddenChange", message));
    }
    match change.action.as_str() {
        "none" | "create" | "update" => Ok(None),
        "replace" => Ok(Some(change)),
        other => {
            let message =
                format!("the plugin calls this change {other:?}, which makes no sense of two specs");
            Err(Obstacle::refused(desired, "PluginBadAnswer", message))
        }
    }
}

/// Has a custom resource deleted. True: it is gone already.
async fn retire(plane: &Plane, cr: &Cr) -> Result<bool, Obstacle> {
    let trouble = Trouble {
        uid: cr.uid.clone(),
        type_name: cr.type_name.clone(),
        generation: cr.generation,
        phase: "Deleting",
        reason: String::new(),
        message: String::new(),
    };
    if cr.protected {
        let message = format!(
            "it should be deleted, but the region knows it as protected from that, and keeps it. If it is to go, run \
             `kubectl -n {}-{} annotate {} {} {}-`",
            plane.prefix,
            cr.key.site,
            plane.cluster.address(&cr.type_name).map_or(cr.type_name.clone(), |resource| resource.plural),
            cr.key.name,
            senren_reconcile::names::DELETION_PROTECTION,
        );
        let trouble = Trouble { reason: "DeletionProtected".into(), message, ..trouble };
        return Err(Obstacle { trouble, retry: false, loud: true });
    }
    if cr.deleting {
        return Ok(false);
    }
    let failed = |error: WriteError| Obstacle::write(trouble.clone(), error);
    let known = Known { uid: cr.uid.clone(), type_name: cr.type_name.clone(), key: cr.key.clone() };
    // Written down before it has nothing left in the cluster that knows its name. A replaced one comes again.
    if plane.is_desired(&known) == Some(false) && !plane.memory.holds(&known).await {
        plane.remember().await.map_err(|error| failed(WriteError::Failed(error.to_string())))?;
    }
    tracing::info!(resource = %cr.key, r#type = cr.type_name, uid = cr.uid, "deleting");
    match plane.cluster.delete(cr).await.map_err(failed)? {
        Some(now) => {
            plane.see(now);
            Ok(false)
        }
        None => {
            plane.crs.remove(cr);
            // Replaced, and gone at once: look again.
            plane.poke([cr.key.clone()]);
            Ok(true)
        }
    }
}

/// Finds out which uids of this name have ended, and has that reported.
async fn farewell(plane: &Plane, key: &ResourceKey) -> Result<(), WriteError> {
    for known in plane.roll.present(key) {
        if plane.is_desired(&known) != Some(false) || plane.has_cr(&known) {
            continue;
        }
        // The cache may be behind: only the API server knows what isn't there.
        match plane.cluster.find(&known.type_name, key).await? {
            Some(cr) if cr.uid == known.uid => plane.see(cr),
            _ => {
                plane.roll.gone(&known);
                plane.board.mark([key.clone()]);
            }
        }
    }
    Ok(())
}
