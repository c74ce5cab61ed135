//! The step that applies: from what a site has and should have to one revision of it.
//!
//! Either all of it happens or nothing. It reads, compares and writes in two round trips and without a lock; where
//! somebody else was faster, it does so again, with the site locked. Applies of different sites meet only at the regions
//! they share, for as long as it takes to raise a counter.

use prost::Message as _;
use senren_api::{RegionId, SiteName, v1::ApplyStateResponse};
use senren_telemetry::trace;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Api, answer,
    check::{self, Checked},
    request::{Database, Declared, Violations},
};
use crate::{
    hub::Signal,
    plan::{Desired, Forbidden, Plan, Protected, Terms},
    store::{
        declared::Declaration,
        is_lost_race, requests,
        requests::RequestKey,
        resources::Current,
        revision::{self, Kind, Revision},
        sites::{self, Before},
    },
};

/// With the site locked, one is enough, unless it is chosen as the victim of a deadlock.
const ATTEMPTS: usize = 5;

/// What is to be applied.
pub(crate) struct Order {
    pub site: SiteName,
    pub request: Option<RequestKey>,
    pub expected_revision: Option<u64>,
    pub databases: Vec<Database>,
    pub kind: Kind,
    pub author: String,
    /// Nothing is held.
    pub confirm_data_loss: bool,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("site {site} is at revision {revision}, not {expected}")]
    Conflict { site: SiteName, revision: u64, expected: u64 },
    #[error("request id {id:?} was used with another content")]
    RequestReused { id: String },
    #[error("some of it is wrong")]
    Invalid(Violations),
    #[error("{} protected databases would be deleted or replaced", .0.len())]
    Protected(Vec<Protected>),
    #[error("{0}")]
    NotFound(String),
    #[error("region {region} is connected")]
    Connected { region: RegionId },
    #[error("others were faster, again and again")]
    Busy,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What was done, and who is to hear of it once it is committed.
pub(crate) struct Done<T> {
    pub answer: T,
    pub signal: Option<Signal>,
}

/// Something that makes a revision of a site.
#[tonic::async_trait]
pub(crate) trait Work: Sync {
    type Answer: Send;

    fn site(&self) -> &SiteName;

    /// Does it, in one statement at the end. `None`: somebody else was faster, and nothing was done.
    async fn attempt(
        &self,
        api: &Api,
        connection: &mut PgConnection,
    ) -> Result<Option<Done<Self::Answer>>, ApplyError>;
}

/// Does some work, and tells who should know.
#[tracing::instrument(name = "store", skip_all, fields(site = %work.site()))]
pub(crate) async fn revise<W: Work>(api: &Api, work: &W) -> Result<W::Answer, ApplyError> {
    let mut connection = api.store.acquire().await?;
    let mut done = unless_lost(work.attempt(api, &mut connection).await)?;
    drop(connection);
    for _ in 0..ATTEMPTS {
        if done.is_some() {
            break;
        }
        let mut transaction = api.store.begin().await?;
        sites::lock(&mut transaction, work.site()).await?;
        done = unless_lost(work.attempt(api, &mut transaction).await)?;
        if done.is_some() {
            transaction.commit().await?;
        }
    }
    let Done { answer, signal } = done.ok_or(ApplyError::Busy)?;
    if let Some(signal) = signal {
        api.hub.wake_relay();
        api.hub.send(signal);
    }
    Ok(answer)
}

/// `None` where somebody else was faster.
fn unless_lost<T>(attempt: Result<Option<T>, ApplyError>) -> Result<Option<T>, ApplyError> {
    match attempt {
        Err(ApplyError::Database(error)) if is_lost_race(&error) => Ok(None),
        attempt => attempt,
    }
}

#[tonic::async_trait]
impl Work for Order {
    type Answer = ApplyStateResponse;

    fn site(&self) -> &SiteName {
        &self.site
    }

    async fn attempt(
        &self,
        api: &Api,
        connection: &mut PgConnection,
    ) -> Result<Option<Done<ApplyStateResponse>>, ApplyError> {
        attempt(api, connection, self).await
    }
}

async fn attempt(
    api: &Api,
    connection: &mut PgConnection,
    order: &Order,
) -> Result<Option<Done<ApplyStateResponse>>, ApplyError> {
    // A repeated request gets its answer even if the same would be refused by now.
    if let Some(answer) = answered_before(connection, &order.site, order.request.as_ref()).await? {
        return Ok(Some(Done { answer, signal: None }));
    }
    let Draft { before, plan, checked } = draft(api, connection, order).await?;
    let changed = !plan.is_empty();
    let after = if changed { before + 1 } else { before };
    let answer = ApplyStateResponse {
        site: order.site.to_string(),
        revision: after,
        changes: answer::changes(&plan, after),
        warnings: checked.warnings,
    };
    let signal = changed.then(|| signal(&order.site, &plan, &[]));
    if changed || order.request.is_some() {
        let revision = Revision {
            declared: declarations(&order.databases, &plan),
            kind: order.kind.clone(),
            author: &order.author,
            request: order.request.as_ref().map(|key| (key, answer.encode_to_vec())),
            payloads: api.hub.payloads(&signal, changed),
            ..revision(api, &order.site, &plan, before, after)
        };
        if !revision::write(connection, &revision).await? {
            return Ok(None);
        }
    }
    tracing::info!(site = %order.site, revision = after, changed, databases = order.databases.len(), "applied");
    Ok(Some(Done { answer, signal }))
}

/// What an order would do to a site as it is now.
pub(crate) struct Draft {
    /// The revision that it starts from.
    pub before: u64,
    pub plan: Plan,
    pub checked: Checked,
}

/// Reads the site and its regions, and compares. Changes nothing.
pub(crate) async fn draft(
    api: &Api,
    connection: &mut PgConnection,
    order: &Order,
) -> Result<Draft, ApplyError> {
    let declared: Vec<&Declared> = order.databases.iter().map(|database| &database.declared).collect();
    let regions = check::regions(&declared);
    let Before { revision, current, seen } = sites::before(connection, &order.site, &regions).await?;
    let checked = check::check(connection, &api.catalog, &declared, &seen, api.sources.now()).await?;
    let checked = checked.map_err(ApplyError::Invalid)?;
    if let Some(expected) = order.expected_revision.filter(|expected| *expected != revision) {
        return Err(ApplyError::Conflict { site: order.site.clone(), revision, expected });
    }
    let plan = plan(api, order, &checked, revision, current);
    if !plan.protected.is_empty() {
        return Err(ApplyError::Protected(plan.protected));
    }
    if !plan.forbidden.is_empty() {
        return Err(ApplyError::Invalid(forbidden(&order.databases, &plan.forbidden)));
    }
    Ok(Draft { before: revision, plan, checked })
}

fn plan(api: &Api, order: &Order, checked: &Checked, before: u64, current: Vec<Current>) -> Plan {
    let desired: Vec<Desired> = order.databases.iter().flat_map(per_region).collect();
    let terms = Terms {
        site: &order.site,
        revision: before + 1,
        confirm_data_loss: order.confirm_data_loss,
        limits: api.settings.limits(),
        schemas: &checked.schemas,
    };
    Plan::new(&desired, current, &terms, || api.sources.uid())
}

/// A database with several regions becomes a resource in each.
fn per_region(database: &Database) -> impl Iterator<Item = Desired> {
    database.declared.regions.iter().map(|region| Desired {
        region: region.clone(),
        name: database.name.clone(),
        type_name: database.declared.type_name.clone(),
        spec: database.spec_json.clone(),
        deletion_protection: database.deletion_protection,
    })
}

fn forbidden(databases: &[Database], forbidden: &[Forbidden]) -> Violations {
    let mut violations = Violations::default();
    for Forbidden { region, name, path } in forbidden {
        let database = databases.iter().find(|database| database.name.as_str() == name);
        let index = database.map_or(0, |database| database.declared.index);
        violations.add(
            format!("databases[{index}].spec{path}"),
            format!(
                "it cannot be changed once {name} exists in {region}; declare a database of another name"
            ),
        );
    }
    violations
}

/// The answer that this request has already got.
pub(crate) async fn answered_before(
    connection: &mut PgConnection,
    site: &SiteName,
    request: Option<&RequestKey>,
) -> Result<Option<ApplyStateResponse>, ApplyError> {
    let Some(request) = request else { return Ok(None) };
    let Some((content_hash, answer)) = requests::find(connection, site, &request.id).await? else {
        return Ok(None);
    };
    if content_hash != request.content_hash {
        return Err(ApplyError::RequestReused { id: request.id.clone() });
    }
    let answer = ApplyStateResponse::decode(answer.as_slice());
    Ok(Some(answer.map_err(|error| sqlx::Error::Decode(error.into()))?))
}

/// What a plan writes. Who asked for it, and who hears of it, is to be added.
pub(crate) fn revision<'a>(
    api: &Api,
    site: &'a SiteName,
    plan: &'a Plan,
    before: u64,
    after: u64,
) -> Revision<'a> {
    Revision {
        site,
        before,
        after,
        now: api.sources.now(),
        regions: &plan.regions,
        inserts: &plan.inserts,
        updates: &plan.updates,
        removals: &plan.removals,
        forgotten: &[],
        renamed: &plan.renamed,
        declared: Vec::new(),
        kind: Kind::Apply,
        author: "",
        changes: answer::record(plan, after),
        request: None,
        payloads: Vec::new(),
        traceparent: trace::current(),
    }
}

/// What is declared from now on under the names that the plan changes.
fn declarations(databases: &[Database], plan: &Plan) -> Vec<Declaration> {
    let changed = databases.iter().filter(|database| plan.renamed.contains(database.name.as_str()));
    let declaration = |database: &Database| Declaration {
        name: database.name.to_string(),
        type_name: database.declared.type_name.to_string(),
        spec: database.spec_json.clone(),
        regions: database.declared.regions.iter().map(ToString::to_string).collect(),
        deletion_protection: database.deletion_protection,
    };
    changed.map(declaration).collect()
}

/// Everything that is different now.
pub(crate) fn signal(site: &SiteName, plan: &Plan, more: &[Uuid]) -> Signal {
    let inserted = plan.inserts.iter().map(|insert| insert.uid);
    let updated = plan.updates.iter().map(|update| update.uid);
    let removed = plan.removals.iter().chain(more).copied();
    Signal::Resources(site.clone(), inserted.chain(updated).chain(removed).collect())
}
