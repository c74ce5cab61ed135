//! What `senren dev` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use senren_api::{
    RegionId,
    v1::{ListRegionsRequest, Region, ResourceStatus, WatchStatusRequest, watch_status_response::Kind},
};

use super::{
    proofs::{Found, Results},
    prove::{Finding, Proof},
};
use crate::{
    client::{Client, Endpoint, Grpc},
    exit::{Exit, Failure},
    output::{self, plain, say},
    progress::Progress,
    table,
    views::Resource,
};

/// How often the regions are looked at, and a lost watch is begun anew.
const EVERY: Duration = Duration::from_secs(1);

/// What is about to be started.
pub fn starting(regions: &BTreeSet<RegionId>, data: &Path, log: &Path) {
    let regions: Vec<&str> = regions.iter().map(RegionId::as_str).collect();
    say!("starting a control plane and regions {}", regions.join(", "));
    say!("data in {}, log in {}", data.display(), log.display());
}

/// What the regions say of themselves, each thing once.
#[derive(Default)]
pub struct Regions {
    said: BTreeSet<String>,
    /// Digests of what each region serves, by region and type.
    served: BTreeMap<(String, String), String>,
}

impl Regions {
    /// Tells what is wrong, and which plugin took another's place.
    pub fn show(&mut self, regions: &[Region]) {
        let mut saying = BTreeSet::new();
        for region in regions {
            for plugin in &region.plugins {
                let key = (region.id.clone(), plugin.r#type.clone());
                match self.served.insert(key, plugin.digest.clone()) {
                    Some(before) if before != plugin.digest => {
                        let now = format!("{} {}", plugin.plugin, plugin.version);
                        say!("{}: {} is served by {} now", region.id, plugin.r#type, plain(&now));
                    }
                    _ => {}
                }
            }
            let notices =
                region.plugins.iter().map(|plugin| &plugin.notice).filter(|notice| !notice.is_empty());
            saying.extend(region.problems.iter().chain(notices).map(|what| format!("{}: {what}", region.id)));
        }
        for what in saying.difference(&self.said) {
            say!("warning: {}", plain(what));
        }
        // What has passed may come again, and is said again then.
        self.said = saying;
    }
}

/// The resources and what was found out about each.
pub fn table(resources: &[ResourceStatus], proofs: &Results) -> Result<(), Failure> {
    if resources.is_empty() {
        return Ok(());
    }
    let resources: Vec<Resource> = resources.iter().cloned().map(Resource::from).collect();
    let simulated = |resource: &Resource| {
        let found = proofs.of(&resource.region, &resource.name)?;
        matches!(found.finding, Finding::Simulated { .. }).then(|| "simulated".to_owned())
    };
    let mut text = table::resources_with(&resources, Timestamp::now(), simulated).render();
    text.push('\n');
    for resource in &resources {
        let found = proofs.of(&resource.region, &resource.name);
        text += &format!("{} {}: {}\n", resource.region, resource.name, told(found));
    }
    output::print(&text)
}

fn told(found: Option<&Found>) -> String {
    let Some(Found { after, finding }) = found else { return "NOT proven: it did not get ready".into() };
    match finding {
        Finding::Proven(proof) => proven(proof, *after),
        Finding::Failed(error) => format!("NOT proven: {error:#}"),
        Finding::Simulated { why, provable: true } => format!("NOT proven: it is only simulated: {why}"),
        Finding::Simulated { why, provable: false } => format!("simulated: {why}"),
        Finding::NoProof => "no proof is known for its type".into(),
        Finding::Elsewhere => "not tried from here: its address is inside its cluster".into(),
    }
}

fn proven(proof: &Proof, after: Duration) -> String {
    let ping = proof.ping.as_secs_f64() * 1000.0;
    let mut text = format!("PING ({ping:.2} ms), {}", proof.works);
    if proof.password.is_some() {
        text += ", with its password";
    }
    if proof.replicated {
        text += ", and its replicas have the value";
    }
    text += &format!("; proven {} after the apply", seconds(after));
    if let Some(before) = &proof.before {
        text += &format!("; it still held {before:?}");
    }
    text
}

/// The result in one line, or as a failure.
pub fn verdict(proofs: &Results) -> Result<(), Failure> {
    let count = |wanted: fn(&Finding) -> bool| proofs.iter().filter(|found| wanted(&found.finding)).count();
    let proven = count(|finding| matches!(finding, Finding::Proven(_)));
    let failed =
        count(|finding| matches!(finding, Finding::Failed(_) | Finding::Simulated { provable: true, .. }));
    let other = count(|_| true) - proven - failed;
    if failed > 0 {
        let message = format!("{failed} of {} databases could not be proven", proven + failed);
        return Err(Failure::new(Exit::Failed, message));
    }
    let proofs = proofs.iter().filter(|found| matches!(found.finding, Finding::Proven(_)));
    let last = seconds(proofs.map(|found| found.after).max().unwrap_or_default());
    output::print(&match (proven, other) {
        (0, 0) => "there is no database to prove".to_owned(),
        (0, other) => format!("none of {} can be proven here, see above", databases(other)),
        (1, 0) => format!("1 database is proven, {last} after the apply"),
        (proven, 0) => format!("{} are proven, the last one {last} after the apply", databases(proven)),
        (proven, other) => {
            let all = databases(proven + other);
            format!(
                "{proven} of {all} are proven, the last one {last} after the apply; the others can't be here, see above"
            )
        }
    })
}

fn databases(count: usize) -> String {
    if count == 1 { "1 database".into() } else { format!("{count} databases") }
}

fn seconds(duration: Duration) -> String {
    table::seconds(SignedDuration::try_from(duration).unwrap_or_default())
}

/// How to go on from a second terminal.
pub fn hints<'a>(
    endpoint: &Endpoint,
    site: &str,
    file: &Path,
    kubeconfigs: impl Iterator<Item = &'a Path>,
    resources: &[ResourceStatus],
    proofs: &Results,
) {
    let mut text = String::from("\nFrom a second terminal:\n");
    if !endpoint.to_string().ends_with(":7443") {
        text += &format!("  export SENREN_ENDPOINT={endpoint}\n");
    }
    for resource in resources {
        let found = proofs.of(&resource.region, &resource.name);
        let Some(Found { finding: Finding::Proven(proof), .. }) = found else { continue };
        let auth =
            proof.password.as_ref().map(|password| format!("REDISCLI_AUTH={password} ")).unwrap_or_default();
        text += &format!("  {auth}redis-cli {}   # {} in {}\n", proof.look, resource.name, resource.region);
    }
    for kubeconfig in kubeconfigs {
        text += &format!("  kubectl --kubeconfig {} get senren,pods -A\n", kubeconfig.display());
    }
    // What a command means that is told nothing.
    let usual = std::env::var("SENREN_SITE").ok().filter(|site| !site.is_empty());
    let site = match site {
        site if site == usual.as_deref().unwrap_or("default") => String::new(),
        site => format!("--site {site} "),
    };
    text += &format!("  senren status {site}--watch\n");
    text += &format!("  senren apply -f {} --wait   # after you changed it\n", file.display());
    say!("{text}Ctrl-C stops everything; the data stay.\n");
}

/// Shows every change of a region from now on, until it is dropped.
pub async fn regions(client: &Client, known: &mut Regions) {
    loop {
        tokio::time::sleep(EVERY).await;
        let call = async |mut grpc: Grpc, request| grpc.list_regions(request).await;
        // Where that fails, the watch of the resources says so.
        if let Ok(answer) = client.call(ListRegionsRequest {}, call).await {
            known.show(&answer.regions);
        }
    }
}

/// Shows every change of a resource from now on, until it is dropped.
pub async fn changes(client: &Client, site: &str) {
    let mut progress = Progress::lines();
    loop {
        let request = WatchStatusRequest { site: site.to_owned(), ..Default::default() };
        if let Ok(events) = client.grpc.clone().watch_status(request).await {
            let mut events = events.into_inner();
            let mut synced = false;
            while let Ok(Some(event)) = events.message().await {
                match (&event.resource, synced) {
                    (Some(status), true) => progress.show(status, event.kind() == Kind::Removed),
                    (Some(status), false) => progress.know(status),
                    (None, _) => synced = true,
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
