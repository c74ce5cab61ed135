//! A person's word: on what is held, and on what is never coming back.

use senren_api::{
    RegionId, SiteName,
    v1::{ConfirmHeldRequest, ConfirmHeldResponse, ForceDeleteRequest, ForceDeleteResponse},
};
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;

use super::{
    Api, answer,
    apply::{self, ApplyError, Done, Work},
    error, request,
};
use crate::{
    plan::Plan,
    store::{
        heartbeats,
        resources::{self, Current, Filter},
        revision::{self, Kind, Revision},
        sites,
    },
};

impl Api {
    pub(super) async fn confirm(&self, request: ConfirmHeldRequest) -> Result<ConfirmHeldResponse, Status> {
        let ConfirmHeldRequest { site, names, regions, author, expected_revision } = request;
        let (site, filter) = request::selection(&site, regions, names, &author).map_err(error::invalid)?;
        let confirmation = Confirmation { site, filter, author, expected_revision };
        apply::revise(self, &confirmation).await.map_err(error::refusal)
    }

    pub(super) async fn force_delete(
        &self,
        request: ForceDeleteRequest,
    ) -> Result<ForceDeleteResponse, Status> {
        let ForceDeleteRequest { site, region, names, author } = request;
        let (site, region, names) =
            request::forced(&site, &region, names, &author).map_err(error::invalid)?;
        let deletion = ForcedDeletion { site, region, names, author };
        apply::revise(self, &deletion).await.map_err(error::refusal)
    }
}

/// Of what is held.
struct Confirmation {
    site: SiteName,
    filter: Filter,
    author: String,
    expected_revision: Option<u64>,
}

#[tonic::async_trait]
impl Work for Confirmation {
    type Answer = ConfirmHeldResponse;

    fn site(&self) -> &SiteName {
        &self.site
    }

    async fn attempt(
        &self,
        api: &Api,
        connection: &mut PgConnection,
    ) -> Result<Option<Done<ConfirmHeldResponse>>, ApplyError> {
        let Self { site, filter, author, expected_revision } = self;
        let before = sites::before(connection, site, &[]).await?;
        if let Some(expected) = expected_revision.filter(|expected| *expected != before.revision) {
            return Err(ApplyError::Conflict { site: site.clone(), revision: before.revision, expected });
        }
        let mut held = before.current;
        held.retain(|have: &Current| have.hold.is_some() && filter.admits(&have.region, &have.name));
        if held.is_empty() {
            return Err(ApplyError::NotFound(format!("nothing that matches is held in site {site}")));
        }
        let plan = Plan::confirmed(held);
        let after = before.revision + 1;
        let signal = apply::signal(site, &plan, &[]);
        let payloads = api.hub.payloads([&signal], true);
        let kind = Kind::Confirm;
        let revision =
            Revision { kind, author, payloads, ..apply::revision(api, site, &plan, before.revision, after) };
        let written = revision::write(connection, &revision).await?;
        let response = ConfirmHeldResponse {
            site: site.to_string(),
            revision: after,
            changes: answer::changes(&plan, after),
        };
        tracing::info!(%site, revision = after, author, resources = plan.changes.len(), "confirmed what was held");
        Ok(written.then_some(Done { answer: response, signal: Some(signal) }))
    }
}

/// Of what departs from a region that is gone for good.
struct ForcedDeletion {
    site: SiteName,
    region: RegionId,
    names: Vec<String>,
    author: String,
}

#[tonic::async_trait]
impl Work for ForcedDeletion {
    type Answer = ForceDeleteResponse;

    fn site(&self) -> &SiteName {
        &self.site
    }

    async fn attempt(
        &self,
        api: &Api,
        connection: &mut PgConnection,
    ) -> Result<Option<Done<ForceDeleteResponse>>, ApplyError> {
        let Self { site, region, names, author } = self;
        let seen = heartbeats::of(connection, &[region.as_str()]).await?;
        if seen.values().any(|seen| !seen.is_silent(api.sources.now())) {
            return Err(ApplyError::Connected { region: region.clone() });
        }
        let before = sites::revision(connection, site).await?;
        let departing = resources::departing(connection, site, region, names).await?;
        if departing.is_empty() {
            return Err(ApplyError::NotFound(format!(
                "nothing that matches is being deleted in {region}, site {site}; an apply has to take it away first"
            )));
        }
        let uids: Vec<Uuid> = departing.iter().map(|departing| departing.uid).collect();
        let plan = Plan::forgotten(departing);
        let signal = apply::signal(site, &plan, &uids);
        let revision = Revision {
            kind: Kind::ForceDelete,
            author,
            forgotten: &uids,
            payloads: api.hub.payloads([&signal], false),
            ..apply::revision(api, site, &plan, before, before + 1)
        };
        let written = revision::write(connection, &revision).await?;
        let changes = answer::changes(&plan, before + 1);
        tracing::warn!(%site, %region, author, resources = changes.len(), "forgot what a lost region does not confirm");
        let response = ForceDeleteResponse { site: site.to_string(), changes };
        Ok(written.then_some(Done { answer: response, signal: Some(signal) }))
    }
}
