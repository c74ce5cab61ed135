//! What sites declare now or declared before, and back to it.

use senren_api::v1::{
    ApplyStateRequest, ApplyStateResponse, GetStateRequest, GetStateResponse, HistoryEntry,
    ListHistoryRequest, ListHistoryResponse, RollbackStateRequest,
};
use senren_api::{SiteName, v1::Database};
use sqlx::PgConnection;
use tonic::Status;

use super::{Api, Order, answer, apply, error, request};
use crate::{
    status::timestamp,
    store::{declared, history, revision::Kind, sites},
};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

impl Api {
    pub(super) async fn get_state(&self, request: GetStateRequest) -> Result<GetStateResponse, Status> {
        let site = request::revision_of(&request.site, "revision", request.revision);
        let site = site.map_err(error::invalid)?;
        let mut connection = self.store.acquire().await.map_err(|e| error::database(&e))?;
        let revision = match request.revision {
            Some(revision) => revision,
            None => sites::revision(&mut connection, &site).await.map_err(|e| error::database(&e))?,
        };
        declared(&mut connection, &site, revision).await
    }

    pub(super) async fn list_history(
        &self,
        request: ListHistoryRequest,
    ) -> Result<ListHistoryResponse, Status> {
        let site = request::revision_of(&request.site, "before_revision", request.before_revision);
        let site = site.map_err(error::invalid)?;
        let limit = if request.limit == 0 { DEFAULT_LIMIT } else { request.limit.min(MAX_LIMIT) };
        let listed = async {
            let mut connection = self.store.acquire().await?;
            history::list(&mut connection, &site, request.before_revision, limit).await
        };
        let entries = listed.await.map_err(|e| error::database(&e))?;
        Ok(ListHistoryResponse { site: site.to_string(), entries: entries.into_iter().map(entry).collect() })
    }

    pub(super) async fn rollback(&self, request: RollbackStateRequest) -> Result<ApplyStateResponse, Status> {
        let rollback = request::Rollback::parse(&request).map_err(error::invalid)?;
        let request::Rollback { site, to, request: key } = rollback;
        let mut connection = self.store.acquire().await.map_err(|e| error::database(&e))?;
        // A repeated request gets its answer even if what it went back to is no longer on record.
        let answered = apply::answered_before(&mut connection, &site, key.as_ref()).await;
        if let Some(answer) = answered.map_err(error::refusal)? {
            return Ok(answer);
        }
        let state = declared(&mut connection, &site, to).await?;
        drop(connection);
        let order = self
            .order(ApplyStateRequest {
                site: site.to_string(),
                expected_revision: request.expected_revision,
                databases: state.databases,
                author: request.author,
                confirm_data_loss: request.confirm_data_loss,
                ..ApplyStateRequest::default()
            })
            .await?;
        let order = Order { kind: Kind::Rollback { to }, request: key, ..order };
        apply::revise(self, &order).await.map_err(error::refusal)
    }

    /// What a site declared at a revision.
    pub(super) async fn declared_at(&self, site: &SiteName, revision: u64) -> Result<Vec<Database>, Status> {
        let mut connection = self.store.acquire().await.map_err(|e| error::database(&e))?;
        Ok(declared(&mut connection, site, revision).await?.databases)
    }
}

async fn declared(
    connection: &mut PgConnection,
    site: &SiteName,
    revision: u64,
) -> Result<GetStateResponse, Status> {
    let mut state = GetStateResponse { site: site.to_string(), revision, ..GetStateResponse::default() };
    // Before the first apply there was nothing, for certain.
    if revision == 0 {
        return Ok(state);
    }
    let found = history::find(connection, site, revision).await.map_err(|e| error::database(&e))?;
    let Some(entry) = found.filter(|entry| entry.recorded) else {
        return Err(Status::not_found(format!(
            "site {site} has no revision {revision}, or what it declared then is no longer on record; \
             `senren history` lists what is"
        )));
    };
    let databases = declared::at(connection, site, revision).await;
    state.databases = databases.map_err(|e| error::database(&e))?;
    state.author = entry.author;
    state.applied_at = Some(timestamp(entry.applied_at));
    Ok(state)
}

fn entry(entry: history::Entry) -> HistoryEntry {
    HistoryEntry {
        revision: entry.revision,
        applied_at: Some(timestamp(entry.applied_at)),
        author: entry.author,
        request_id: entry.request_id,
        kind: entry.kind,
        rollback_to: entry.rollback_to,
        changes: answer::recorded(entry.changes, entry.revision),
    }
}
