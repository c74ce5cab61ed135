//! Waiting until what an apply asked for is there: a pure tracker of goals, and a driver that feeds it from
//! WatchStatus, reconnecting as needed, until all is settled or time is up.

use std::{collections::BTreeMap, time::Duration};

use senren_api::v1::{
    ApplyStateResponse, ResourceStatus, WatchStatusRequest, WatchStatusResponse, resource_change::Action,
    watch_status_response::Kind,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    client::Client,
    exit::{Exit, Failure},
    output::say,
};

/// How long a resource may be `Failed` while nothing else is on its way, before we call that the result: a
/// failure that the region retries often passes.
const FAILED_GRACE: Duration = Duration::from_secs(5);

/// Region and name.
type Key = (String, String);

/// What is waited for.
#[derive(Debug, Default)]
pub struct Goals {
    site: String,
    goals: BTreeMap<Key, Goal>,
    /// Whether the current watch has shown all there was.
    synced: bool,
    /// How many goals have each standing: among thousands, an event changes that of one.
    tally: [usize; STANDINGS],
}

#[derive(Debug)]
struct Goal {
    /// Empty where only the absence of `gone` is waited for.
    uid: String,
    generation: u64,
    /// It must disappear.
    gone: bool,
    /// It does not happen until it is confirmed.
    held: bool,
    /// As last seen.
    latest: Option<ResourceStatus>,
    /// The current watch has shown it.
    seen: bool,
    /// A later apply has put another resource in its place.
    succeeded: bool,
}

/// How far a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As asked for.
    Done,
    /// On its way.
    Moving,
    /// `Failed`, as the region says.
    Failed,
    /// A later apply has changed or removed it.
    Superseded,
    /// Waits for `senren confirm`.
    Held,
}

const STANDINGS: usize = 5;

impl Goals {
    /// Everything in the answer to an apply.
    pub fn of(response: &ApplyStateResponse) -> Self {
        let mut goals = BTreeMap::new();
        for change in &response.changes {
            let gone = change.action() == Action::Deleted;
            let key = (change.region.clone(), change.name.clone());
            let goal = Goal {
                uid: change.uid.clone(),
                generation: change.generation,
                gone,
                held: change.hold.is_some(),
                latest: None,
                seen: false,
                succeeded: false,
            };
            // Of a name that is deleted and created again, the new one counts.
            if !gone || !goals.contains_key(&key) {
                goals.insert(key, goal);
            }
        }
        let mut goals = Self { site: response.site.clone(), goals, ..Self::default() };
        goals.count();
        goals
    }

    fn count(&mut self) {
        self.tally = [0; STANDINGS];
        self.goals.values().for_each(|goal| self.tally[goal.standing(self.synced) as usize] += 1);
    }

    /// Takes in one event; returns how far its resource is, where that is a goal of ours.
    pub fn observe(&mut self, event: &WatchStatusResponse) -> Option<Standing> {
        if event.kind() == Kind::Synced {
            self.synced = true;
            // What this watch has not shown went while there was none.
            self.goals.values_mut().filter(|goal| !goal.seen).for_each(|goal| goal.latest = None);
            self.count();
        }
        let status = event.resource.as_ref()?;
        let goal = self.goals.get_mut(&(status.region.clone(), status.name.clone()))?;
        self.tally[goal.standing(self.synced) as usize] -= 1;
        let ours = status.uid == goal.uid;
        if ours {
            goal.seen = true;
            goal.latest = (event.kind() != Kind::Removed).then(|| status.clone());
        } else {
            // What a replacement took the place of stands beside it until it is gone.
            goal.succeeded |= status.generation > goal.generation && !status.deleting;
        }
        let standing = goal.standing(self.synced);
        self.tally[standing as usize] += 1;
        ours.then_some(standing)
    }

    /// A new watch begins: nothing it has not shown is known to be gone.
    fn restart(&mut self) {
        self.synced = false;
        self.goals.values_mut().for_each(|goal| goal.seen = false);
        self.count();
    }

    /// How far all of it is: the least far that any is.
    pub fn standing(&self) -> Standing {
        [Standing::Moving, Standing::Failed, Standing::Superseded, Standing::Held]
            .into_iter()
            .find(|standing| self.tally[*standing as usize] > 0)
            .unwrap_or(Standing::Done)
    }

    /// The resources that are left, ordered by (region, name).
    pub fn into_latest(self) -> impl Iterator<Item = ResourceStatus> {
        self.goals.into_values().filter_map(|goal| goal.latest)
    }

    /// What is not as asked for, one line each.
    fn unfinished(&self) -> String {
        let lines = self.goals.iter().filter_map(|((region, name), goal)| {
            let what = match (goal.standing(self.synced), &goal.latest) {
                (Standing::Done, _) => return None,
                (Standing::Superseded, _) => "a later apply changed or deleted it".to_owned(),
                (Standing::Held, status) => {
                    let hold = status.as_ref().and_then(|status| status.hold.as_ref());
                    format!("held: {}", hold.map_or("it waits to be confirmed", |hold| &hold.message))
                }
                (_, None) => "no status yet".to_owned(),
                (_, Some(status)) => {
                    let parts = [status.phase.as_str(), &status.reason, &status.message];
                    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(": ")
                }
            };
            Some(format!("\n  {region}  {name}: {what}"))
        });
        lines.collect()
    }
}

impl Goal {
    fn standing(&self, synced: bool) -> Standing {
        if self.held {
            // Not before the watch has shown how it stands.
            return if synced || self.latest.is_some() { Standing::Held } else { Standing::Moving };
        }
        if self.gone {
            return if synced && self.latest.is_none() { Standing::Done } else { Standing::Moving };
        }
        let Some(status) = &self.latest else {
            return if synced || self.succeeded { Standing::Superseded } else { Standing::Moving };
        };
        if status.generation > self.generation || status.deleting {
            return Standing::Superseded;
        }
        let current = status.observed_generation >= self.generation;
        if current && status.hold.is_some() {
            return Standing::Held;
        }
        match status.phase.as_str() {
            // Ready alone is not enough: during a rolling change clients are served all along.
            "Ready" if current && status.ready => Standing::Done,
            "Failed" if current => Standing::Failed,
            _ => Standing::Moving,
        }
    }
}

/// Watches until every goal is reached, or something failed for good, or `timeout` is over. `each` is called
/// with every new status and whether it is settled. The goals come back as they were last seen.
pub async fn converge(
    client: &Client,
    mut goals: Goals,
    timeout: Duration,
    mut each: impl FnMut(&ResourceStatus, bool),
) -> (Goals, Result<(), Failure>) {
    let deadline = Instant::now() + timeout;
    let mut patience = Patience::default();
    let mut lost = None;
    loop {
        match watch(client, &mut goals, deadline, &mut patience, &mut each).await {
            Ok(()) => break,
            Err(failure) if failure.exit == Exit::Unreachable && Instant::now() < deadline => {
                // Once is enough to say it.
                if lost.replace(()).is_none() {
                    say!("senren: {failure}\nsenren: trying again");
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(failure) => return (goals, Err(failure)),
        }
    }
    let result = match goals.standing() {
        Standing::Done => Ok(()),
        Standing::Moving => {
            let text = format!("not ready after {timeout:?}:{}", goals.unfinished());
            Err(Failure::new(Exit::TimedOut, text))
        }
        Standing::Failed | Standing::Superseded => {
            Err(Failure::new(Exit::Failed, format!("not as declared:{}", goals.unfinished())))
        }
        Standing::Held => {
            Err(Failure::new(Exit::Held, format!("not as declared until confirmed:{}", goals.unfinished())))
        }
    };
    (goals, result)
}

/// One watch, until there is nothing more to wait for, the deadline, or an error.
async fn watch(
    client: &Client,
    goals: &mut Goals,
    deadline: Instant,
    patience: &mut Patience,
    each: &mut impl FnMut(&ResourceStatus, bool),
) -> Result<(), Failure> {
    goals.restart();
    let request = WatchStatusRequest { site: goals.site.clone(), ..Default::default() };
    let mut grpc = client.grpc.clone();
    let Ok(response) = timeout_at(deadline, grpc.watch_status(request)).await else { return Ok(()) };
    let response = response.map_err(|status| client.failure(&status))?;
    let mut events = response.into_inner();
    loop {
        let until = match patience.until(goals.standing()) {
            Some(end) => end.min(deadline),
            None => deadline,
        };
        tokio::select! {
            event = events.message() => match event.map_err(|status| client.failure(&status))? {
                Some(event) => {
                    if let (Some(standing), Some(status)) = (goals.observe(&event), &event.resource) {
                        each(status, standing == Standing::Done);
                    }
                }
                None => return Err(Failure::new(Exit::Unreachable, "the control plane ended the watch")),
            },
            () = tokio::time::sleep_until(until) => return Ok(()),
        }
    }
}

/// Until when a standing is watched for a change: not at all once all is done, for a while once all that is left
/// has failed, and as long as it takes while something moves.
#[derive(Default)]
struct Patience {
    failed_since: Option<Instant>,
}

impl Patience {
    fn until(&mut self, standing: Standing) -> Option<Instant> {
        match standing {
            Standing::Moving => {
                self.failed_since = None;
                None
            }
            Standing::Done | Standing::Superseded | Standing::Held => Some(Instant::now()),
            Standing::Failed => Some(*self.failed_since.get_or_insert_with(Instant::now) + FAILED_GRACE),
        }
    }
}

#[cfg(test)]
mod tests {
    use senren_api::v1::ResourceChange;

    use super::*;

    const SYNCED: WatchStatusResponse =
        WatchStatusResponse { kind: Kind::Synced as i32, resource: None, revision: 1 };

    fn change(uid: &str, action: Action) -> ResourceChange {
        ResourceChange {
            region: "aws:r".into(),
            name: "a".into(),
            uid: uid.into(),
            action: action.into(),
            generation: 2,
            ..Default::default()
        }
    }

    fn event(kind: Kind, uid: &str, generation: u64, phase: &str) -> WatchStatusResponse {
        let resource = ResourceStatus {
            region: "aws:r".into(),
            name: "a".into(),
            uid: uid.into(),
            generation,
            observed_generation: generation,
            phase: phase.into(),
            ready: phase == "Ready",
            ..Default::default()
        };
        WatchStatusResponse { kind: kind.into(), resource: Some(resource), revision: 1 }
    }

    /// The same resource, taken away.
    fn deleting(mut event: WatchStatusResponse) -> WatchStatusResponse {
        event.resource.iter_mut().for_each(|resource| resource.deleting = true);
        event
    }

    fn check(action: Action, events: Vec<WatchStatusResponse>, expected: Standing) {
        let response = ApplyStateResponse { changes: vec![change("u", action)], ..Default::default() };
        let mut goals = Goals::of(&response);
        let shown = format!("{events:?}");
        for event in events {
            goals.observe(&event);
        }
        assert_eq!(goals.standing(), expected, "{action:?} {shown}");
    }

    #[test]
    fn a_resource_is_done_when_its_generation_is_ready() {
        check(Action::Created, vec![], Standing::Moving);
        check(Action::Created, vec![event(Kind::Changed, "u", 2, "Creating"), SYNCED], Standing::Moving);
        check(Action::Created, vec![event(Kind::Changed, "u", 2, "Ready")], Standing::Done);
        check(Action::Updated, vec![event(Kind::Changed, "u", 1, "Ready"), SYNCED], Standing::Moving);
        check(Action::Created, vec![event(Kind::Changed, "u", 2, "Failed")], Standing::Failed);
        let mut rolling = event(Kind::Changed, "u", 2, "Updating");
        rolling.resource.iter_mut().for_each(|resource| resource.ready = true);
        check(Action::Updated, vec![rolling], Standing::Moving);
    }

    #[test]
    fn a_deleted_resource_is_done_when_it_is_gone() {
        check(Action::Deleted, vec![event(Kind::Changed, "u", 2, "Deleting"), SYNCED], Standing::Moving);
        check(Action::Deleted, vec![SYNCED], Standing::Done);
        let removed =
            vec![event(Kind::Changed, "u", 2, "Deleting"), SYNCED, event(Kind::Removed, "u", 2, "Deleting")];
        check(Action::Deleted, removed, Standing::Done);
        check(Action::Deleted, vec![event(Kind::Changed, "other", 3, "Creating"), SYNCED], Standing::Done);
    }

    #[test]
    fn a_replacement_is_not_mistaken_for_what_it_replaces() {
        let old = || deleting(event(Kind::Changed, "old", 2, "Ready"));
        let new = |phase| event(Kind::Changed, "u", 2, phase);
        check(Action::Replaced, vec![old(), new("Pending"), SYNCED], Standing::Moving);
        check(Action::Replaced, vec![new("Pending"), SYNCED, old()], Standing::Moving);
        let gone = deleting(event(Kind::Removed, "old", 2, "Deleting"));
        check(Action::Replaced, vec![old(), new("Pending"), SYNCED, gone.clone()], Standing::Moving);
        check(Action::Replaced, vec![old(), SYNCED, gone, new("Ready")], Standing::Done);
        // And what is waited for to be gone is not gone because its name is taken already.
        let ours = || deleting(event(Kind::Changed, "u", 2, "Deleting"));
        let other = || event(Kind::Changed, "other", 3, "Creating");
        check(Action::Deleted, vec![ours(), SYNCED, other()], Standing::Moving);
        check(Action::Deleted, vec![other(), ours(), SYNCED], Standing::Moving);
    }

    #[test]
    fn what_went_while_there_was_no_watch_is_gone() {
        let response =
            ApplyStateResponse { changes: vec![change("u", Action::Deleted)], ..Default::default() };
        let mut goals = Goals::of(&response);
        goals.observe(&deleting(event(Kind::Changed, "u", 2, "Deleting")));
        goals.observe(&SYNCED);
        goals.restart();
        assert_eq!(goals.standing(), Standing::Moving);
        goals.observe(&SYNCED);
        assert_eq!(goals.standing(), Standing::Done);
    }

    #[test]
    fn what_is_held_is_not_waited_for() {
        let hold = || Some(senren_api::v1::Hold { kind: "Replacement".into(), ..Default::default() });
        let mut held = event(Kind::Changed, "u", 2, "Ready");
        held.resource.iter_mut().for_each(|resource| resource.hold = hold());
        check(Action::Updated, vec![held.clone()], Standing::Held);
        // What an earlier generation was held for says nothing of this one.
        held.resource.iter_mut().for_each(|resource| resource.observed_generation = 1);
        check(Action::Updated, vec![held, SYNCED], Standing::Moving);

        let deletion = ResourceChange { hold: hold(), ..change("u", Action::Deleted) };
        let response = ApplyStateResponse { changes: vec![deletion], ..Default::default() };
        let mut goals = Goals::of(&response);
        assert_eq!(goals.standing(), Standing::Moving);
        goals.observe(&event(Kind::Changed, "u", 1, "Ready"));
        assert_eq!(goals.standing(), Standing::Held);
    }

    #[test]
    fn a_later_apply_is_told_from_a_failure() {
        check(Action::Created, vec![event(Kind::Changed, "other", 3, "Creating")], Standing::Superseded);
        check(Action::Created, vec![event(Kind::Changed, "u", 3, "Updating")], Standing::Superseded);
        check(Action::Created, vec![SYNCED], Standing::Superseded);
    }
}
