//! Whether a plugin may serve, in this region, in the place of another.
//!
//! Everything is looked at before anything is changed: what is refused here has left no trace.

use futures::{StreamExt as _, stream};
use senren_engine::Plugin;

use crate::{cr::Cr, plane::Plane};

/// Of so many resources with the same trouble, the names are told.
const TOLD: usize = 3;

/// So many specs are looked at at once.
const AT_ONCE: usize = 8;

/// Whether it does what it says of itself: its examples are specs that it admits.
pub(crate) async fn vet(plugin: &Plugin) -> Result<(), String> {
    for ty in plugin.types() {
        let name = &ty.wit.name;
        match plugin.admit(name, &ty.wit.example).await {
            Ok(Ok(_)) => {}
            Ok(Err(violations)) => {
                let told: Vec<_> = violations.iter().map(|v| format!("{} {}", v.path, v.message)).collect();
                return Err(format!("it does not admit the example of its type {name}: {}", told.join("; ")));
            }
            Err(error) => {
                return Err(format!("it fails at the example of its type {name}: {error}"));
            }
        }
    }
    Ok(())
}

/// Whether it can go on with what the other one serves here.
pub(crate) async fn may_replace(plane: &Plane, before: &Plugin, after: &Plugin) -> Result<(), String> {
    if let (Ok(_), Err(violations)) = (before.config(), after.config()) {
        let told: Vec<_> = violations.iter().map(|v| format!("{} {}", v.path, v.message)).collect();
        return Err(format!("it does not take its settings: {}", told.join("; ")));
    }
    for ty in before.types() {
        let name = &ty.wit.name;
        if !plane.has_any(name) {
            continue;
        }
        let Some(now) = after.types().iter().find(|now| now.wit.name == *name) else {
            return Err(format!("it no longer serves type {name}, of which there are resources"));
        };
        for (what, was, is) in
            [("kind", &ty.wit.kind, &now.wit.kind), ("plural", &ty.wit.plural, &now.wit.plural)]
        {
            if was != is {
                return Err(format!(
                    "it changes the {what} of type {name} from {was} to {is}, and there are resources of it"
                ));
            }
        }
        accepts_all(plane, before, after, name).await?;
    }
    Ok(())
}

/// What the one accepts that runs, the other must accept.
async fn accepts_all(plane: &Plane, before: &Plugin, after: &Plugin, type_name: &str) -> Result<(), String> {
    let crs = plane.crs.all().into_iter().filter(|cr| cr.type_name == type_name);
    let refusals = stream::iter(crs).map(async |cr| {
        let why = refusal(after, &cr).await?;
        refusal(before, &cr).await.is_none().then(|| format!("{} ({why})", cr.key))
    });
    let refused: Vec<String> = refusals.buffered(AT_ONCE).filter_map(std::future::ready).collect().await;
    if refused.is_empty() {
        return Ok(());
    }
    let more = refused.len().saturating_sub(TOLD);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let told = refused.into_iter().take(TOLD).collect::<Vec<_>>().join(", ");
    Err(format!("it refuses specs that the one that runs accepts, of {told}{more}"))
}

/// Why a plugin doesn't accept what a custom resource has.
async fn refusal(plugin: &Plugin, cr: &Cr) -> Option<String> {
    match plugin.admit(&cr.type_name, &cr.spec.to_string()).await {
        Ok(Ok(_)) => None,
        Ok(Err(violations)) => {
            let told: Vec<_> = violations.iter().map(|v| format!("{} {}", v.path, v.message)).collect();
            Some(told.join("; "))
        }
        Err(error) => Some(error.to_string()),
    }
}
