//! One step for a Redis Cluster: what there is, the next commands for its nodes, all objects that shall be, and how it
//! is now.
//!
//! **Asking.** A look at each node stands at all times. What a look leads to is asked as an *act*, whose id holds the
//! time of the look it was decided on: so it is done once for that look, however often this step is repeated, and
//! again only when a newer look shows that it is still needed. While acts are under way the looks stand still; once
//! all are answered, looks are wanted that are newer than the acts.

use std::collections::BTreeMap;
use std::time::Duration;

use senren_plugin::prelude::*;
use senren_plugin::wit::Event;
use senren_plugin::{Answer, Exec};

use super::Spec;
use super::balance;
use super::objects::{self, NODE_SCRIPT, Names, PodTemplate};
use super::plan::{self, Plan};
use super::seen::{Cluster, Member, Primary, look_id};
use super::sets::{self, SetSeen};
use super::slots::Slots;
use super::status::Facts;
use crate::Config;
use crate::pods::CONTAINER;

/// A look waits for a server that is just starting, but not for long.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// An act gives up by itself before this.
const ACT_TIMEOUT: Duration = Duration::from_secs(10);
/// The answer of an act stands for as long as it is asked for.
const FOR_EVER: Duration = Duration::from_secs(86_400);
/// How old looks may become: while all is well, while something is not there yet, and while acts are under way.
const WELL: Duration = Duration::from_secs(30);
const WAITING: Duration = Duration::from_secs(2);
const SYNCING: Duration = Duration::from_secs(1);
const ACTING: Duration = Duration::from_secs(15);
/// While something happens: at least, and for each pod.
const SOON: Duration = Duration::from_millis(200);
const SOON_EACH: Duration = Duration::from_millis(50);
/// After an act that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) fn reconcile(input: &Input<Spec, Config>) -> Result<Outcome, Fault> {
    let names = Names::of(input);
    let sets = SetSeen::all(input, &names);
    // The host keeps a Secret that is no longer asked for; nothing may depend on that.
    let secret_version = input.secret_version(&names.secret).filter(|_| input.spec.password);
    let waits_for_secret = input.spec.password && secret_version.is_none();
    let has_pods = !sets.is_empty() || input.last_phase().is_some_and(|phase| phase != "Pending");

    let cluster = Cluster::seen(input, &names, &sets);
    let memory_mb = memory_mb(&input.spec, &sets, &cluster);
    let redis_conf = objects::redis_conf(&input.spec, memory_mb);
    let template = PodTemplate::new(input, &names, &redis_conf, memory_mb, secret_version);
    let config_map = objects::config_map(&names.config, redis_conf);
    let with = |status: Status| {
        let outcome = Outcome::new(status).child(config_map);
        let outcome = objects::around(input, &names).into_iter().fold(outcome, Outcome::child);
        if input.spec.password { outcome.random_secret(&names.secret, ["password"]) } else { outcome }
    };
    if waits_for_secret && !has_pods {
        return Ok(with(Status::new(Phase::Pending, false, "WaitingForSecret", "")));
    }

    let (shards, pods) = (input.spec.shards, input.spec.pods());
    let mut plan = plan::repair(&cluster, shards, pods);
    let calm = plan.acts.is_empty() && plan.doing.is_none() && sets::calm(input, &sets, &cluster);
    let sets_plan = sets::plan(input, &template, &sets, &cluster, calm);
    if let Some((pod, command)) = &sets_plan.first {
        plan.acts.insert(pod.clone(), vec![command.clone()]);
    } else if calm && !sets_plan.rolling {
        plan = Plan { stuck: plan.stuck, ..plan::rebalance(&cluster, shards) };
    }

    let facts = Facts {
        input,
        names: &names,
        cluster: &cluster,
        sets: &sets,
        plan: &plan,
        sets_plan: &sets_plan,
        memory_mb,
    };
    let mut outcome = with(facts.status());
    for set in &sets_plan.sets {
        let seen = sets.get(&set.shard);
        let set = objects::stateful_set(input, &names, &template, set, seen);
        // Left out, pods that are there would be deleted; without the version of their password they would be replaced
        // for nothing. So they stay as they are until the host has made the Secret, which it does only for an answer.
        outcome = if waits_for_secret { outcome.child_once(set) } else { outcome.child_recreated(set) };
    }
    outcome = ask(outcome, &facts);
    if !plan.lost.is_empty() && input.spec.persistence.enabled {
        let message = format!("slots {} lost their data, and are served again empty", plan.lost);
        outcome = outcome.event(Event::warning("DataLost", message));
    }
    Ok(match facts.trouble() {
        Some(trouble) => outcome.event(Event::warning(&trouble.reason, &trouble.message)),
        None => outcome,
    })
}

/// Memory of each pod. More is given at once; less only when every shard has no more than its part of the data.
fn memory_mb(spec: &Spec, sets: &BTreeMap<u32, SetSeen>, cluster: &Cluster) -> u64 {
    let wanted = spec.shard_memory_mb();
    let now = sets.values().filter_map(|set| set.memory_mb).max().unwrap_or(wanted);
    let mut parts = BTreeMap::new();
    for shard in cluster.shards() {
        if let Primary::Member(primary) = cluster.primary(shard) {
            parts.insert(shard, primary.slots());
        }
    }
    let all: usize = parts.values().map(Slots::len).sum();
    let balanced = all == Slots::all().len() && balance::moves(&parts, spec.shards).is_empty();
    if now > wanted && !balanced { now } else { wanted }
}

/// Adds the acts of the plan, and looks at everyone.
fn ask(mut outcome: Outcome, facts: &Facts<'_>) -> Outcome {
    let (input, cluster) = (facts.input, facts.cluster);
    let mut answers: Vec<Option<Answer>> = Vec::new();
    for (pod, commands) in &facts.plan.acts {
        let looked_at =
            cluster.members.iter().find(|member| member.pod == *pod).map_or(0, |one| one.looked_at);
        let id = format!("act/{pod}/{looked_at}");
        answers.push(input.answer(&id));
        let words = [NODE_SCRIPT, "do"].map(str::to_owned).into_iter();
        let command =
            ["sh".to_owned()].into_iter().chain(words).chain(commands.iter().map(ToString::to_string));
        outcome = outcome.ask(Exec::new(id, pod, CONTAINER, command).timeout(ACT_TIMEOUT).max_age(FOR_EVER));
    }
    let fresh = freshness(facts, &answers);
    for member in cluster.members.iter().filter(|member| member.running) {
        let id = look_id(&member.pod, &member.uid);
        let age = match fresh {
            Fresh::For(age) => age,
            Fresh::Since(time) if member.looked_at > time => ACTING,
            Fresh::Since(time) => Duration::from_millis(time - member.looked_at),
        };
        let look = Exec::new(id, &member.pod, CONTAINER, ["sh", NODE_SCRIPT, "look"]);
        outcome = outcome.ask(look.timeout(LOOK_TIMEOUT).max_age(age));
    }
    outcome
}

/// How fresh looks are to be.
enum Fresh {
    /// Not older than this.
    For(Duration),
    /// Made after this time, in milliseconds since 1970.
    Since(u64),
}

fn freshness(facts: &Facts<'_>, acts: &[Option<Answer>]) -> Fresh {
    if !acts.is_empty() {
        let Some(answered) = acts.iter().cloned().collect::<Option<Vec<_>>>() else {
            return Fresh::For(ACTING);
        };
        let pause = |answer: &Answer| match answer.text() {
            Some(_) => 0,
            None => u64::try_from(AFTER_FAILURE.as_millis()).unwrap_or_default(),
        };
        let latest = answered.iter().map(|answer| answer.observed_at_ms + pause(answer)).max();
        return Fresh::Since(latest.unwrap_or_default());
    }
    let cluster = facts.cluster;
    let asked = |member: &&Member| member.running;
    let soon = SOON.max(SOON_EACH * u32::try_from(cluster.members.iter().filter(asked).count()).unwrap_or(1));
    Fresh::For(match () {
        () if facts.all_well() => WELL,
        () if cluster.members.iter().any(|member| !member.running) => WAITING,
        () if facts.plan.doing.is_some() || !cluster.settled || cluster.served() != Slots::all() => soon,
        () => SYNCING.max(soon),
    })
}
