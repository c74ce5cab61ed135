//! The gRPC service `senren.v1.ControlPlane`: parses, checks, calls the step, answers.
//!
//! It never trusts a field that `request` has not parsed, and never lets a caller see what the database says.

mod apply;
mod check;
mod error;
mod regions;
mod request;

use std::{pin::Pin, time::Instant};

use futures::Stream;
use senren_api::v1::{
    ApplyStateRequest, ApplyStateResponse, GetStatusRequest, GetStatusResponse, ListRegionsRequest,
    ListRegionsResponse, WatchStatusRequest, WatchStatusResponse, control_plane_server::ControlPlane,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::Instrument as _;

use crate::{
    catalog::{Catalog, Plugins},
    hub::Hub,
    plan::Desired,
    sources::Sources,
    status,
    store::{Store, regions as stored_regions, resources, sites},
    watch,
};
use apply::{ApplyError, Order};
use request::{Declared, Invalid, Violations};

/// The service.
#[derive(Clone)]
pub struct Api {
    store: Store,
    hub: Hub,
    sources: Sources,
    catalog: Catalog,
    // Watches end with it.
    shutdown: CancellationToken,
}

impl Api {
    /// A service on a store. It wakes relay and watchers through `hub`.
    pub fn new(store: Store, hub: Hub, sources: Sources, shutdown: CancellationToken) -> Self {
        Self { store, hub, sources, catalog: Catalog::default(), shutdown }
    }

    async fn apply(&self, request: ApplyStateRequest) -> Result<ApplyStateResponse, Status> {
        let request = match request::Apply::parse(request) {
            Ok(request) => request,
            Err(invalid) => return Err(error::invalid(self.all_violations(invalid).await)),
        };
        let mut connection = self.store.acquire().await.map_err(|e| error::database(&e))?;
        // A repeated request gets its answer even if the same would be refused by now.
        let answered = apply::answered_before(&mut connection, &request.site, request.request.as_ref()).await;
        if let Some(answer) = answered.map_err(refusal)? {
            return Ok(answer);
        }
        let declared: Vec<&Declared> = request.databases.iter().map(|database| &database.declared).collect();
        let checked = check::check(&mut connection, &self.catalog, &declared, self.sources.now()).await;
        let warnings = checked.map_err(|e| error::database(&e))?.map_err(error::invalid)?;
        drop(connection);
        let order = Order {
            site: request.site,
            request: request.request,
            expected_revision: request.expected_revision,
            desired: request.databases.into_iter().flat_map(per_region).collect(),
            warnings,
        };
        apply::apply(&self.store, &self.hub, &self.sources, order).await.map_err(refusal)
    }

    /// Together with what the regions say of what can be read, so that a user need not come twice.
    async fn all_violations(&self, mut invalid: Invalid) -> Violations {
        let declared: Vec<&Declared> = invalid.declared.iter().collect();
        let checked = async {
            let mut connection = self.store.acquire().await?;
            check::check(&mut connection, &self.catalog, &declared, self.sources.now()).await
        };
        // Without the database, what is known is said.
        if let Ok(Err(more)) = checked.await {
            invalid.violations.append(more);
        }
        invalid.violations
    }

    async fn get_status(&self, request: GetStatusRequest) -> Result<GetStatusResponse, Status> {
        let selection = request::selection(&request.site, request.regions, request.names);
        let (site, filter) = selection.map_err(error::invalid)?;
        let read = async {
            let mut connection = self.store.acquire().await?;
            // The revision first: what is listed is then at least as new.
            let revision = sites::revision(&mut connection, &site).await?;
            Ok((revision, resources::known_of_site(&mut connection, &site, &filter).await?))
        };
        let (revision, known) = read.await.map_err(|e| error::database(&e))?;
        let now = self.sources.now();
        let resources = known.iter().map(|known| status::present(known, now)).collect();
        Ok(GetStatusResponse { site: site.to_string(), revision, resources })
    }

    async fn list_regions(&self) -> sqlx::Result<ListRegionsResponse> {
        let mut connection = self.store.acquire().await?;
        let now = self.sources.now();
        let mut listed = Vec::new();
        for overview in stored_regions::overviews(&mut connection).await? {
            let plugins = match &overview.heartbeat {
                Some(heartbeat) => self.catalog.get(&mut connection, &heartbeat.plugins_hash).await?,
                None => Plugins::default().into(),
            };
            listed.push(regions::present(overview, &plugins, now));
        }
        Ok(ListRegionsResponse { regions: listed })
    }
}

/// A database with several regions becomes a resource in each.
fn per_region(database: request::Database) -> impl Iterator<Item = Desired> {
    let request::Database { name, declared, spec_json, deletion_protection } = database;
    let Declared { type_name, regions, .. } = declared;
    regions.into_iter().map(move |region| Desired {
        region,
        name: name.clone(),
        type_name: type_name.clone(),
        spec: spec_json.clone(),
        deletion_protection,
    })
}

fn refusal(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflict { site, revision, expected } => {
            let subject = format!("site {site}");
            let message = format!(
                "{subject} is at revision {revision}, not at the expected {expected}: somebody else has applied; read \
                 it, merge, and apply again with expected_revision {revision}"
            );
            let mut details = ErrorDetails::new();
            let metadata = [("site", site.to_string()), ("revision", revision.to_string())];
            let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
            details.set_error_info("REVISION_CONFLICT", "senren.io", metadata);
            Status::with_error_details(Code::Aborted, message, details)
        }
        ApplyError::RequestReused { id } => Status::already_exists(format!(
            "request id {id:?} was used before with another content; nothing was changed; use a new id for a new request"
        )),
        ApplyError::Protected(resources) => error::protected(&resources),
        ApplyError::Database(error) => error::database(&error),
    }
}

#[tonic::async_trait]
impl ControlPlane for Api {
    async fn apply_state(
        &self,
        request: Request<ApplyStateRequest>,
    ) -> Result<Response<ApplyStateResponse>, Status> {
        let begin = Instant::now();
        // Detached from the call: a client that hangs up must not leave a connection in the middle of something.
        let api = self.clone();
        let applying = async move { api.apply(request.into_inner()).await };
        let applying = tokio::spawn(applying.in_current_span());
        let result =
            applying.await.unwrap_or_else(|_| Err(Status::internal("the apply was cut short; try again")));
        let code = result.as_ref().err().map_or(Code::Ok, Status::code);
        metrics::counter!("senren_applies_total", "code" => format!("{code:?}")).increment(1);
        metrics::histogram!("senren_apply_seconds").record(begin.elapsed().as_secs_f64());
        result.map(Response::new)
    }

    async fn plan_state(
        &self,
        _request: Request<senren_api::v1::PlanStateRequest>,
    ) -> Result<Response<senren_api::v1::PlanStateResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get_state(
        &self,
        _request: Request<senren_api::v1::GetStateRequest>,
    ) -> Result<Response<senren_api::v1::GetStateResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_history(
        &self,
        _request: Request<senren_api::v1::ListHistoryRequest>,
    ) -> Result<Response<senren_api::v1::ListHistoryResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn rollback_state(
        &self,
        _request: Request<senren_api::v1::RollbackStateRequest>,
    ) -> Result<Response<senren_api::v1::ApplyStateResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn confirm_held(
        &self,
        _request: Request<senren_api::v1::ConfirmHeldRequest>,
    ) -> Result<Response<senren_api::v1::ConfirmHeldResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn force_delete(
        &self,
        _request: Request<senren_api::v1::ForceDeleteRequest>,
    ) -> Result<Response<senren_api::v1::ForceDeleteResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Api::get_status(self, request.into_inner()).await.map(Response::new)
    }

    type WatchStatusStream = Pin<Box<dyn Stream<Item = Result<WatchStatusResponse, Status>> + Send>>;

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let request = request.into_inner();
        let selection = request::selection(&request.site, request.regions, request.names);
        let (site, filter) = selection.map_err(error::invalid)?;
        let watch = watch::Watch::new(self.store.clone(), self.sources.clone(), site, filter);
        Ok(Response::new(Box::pin(watch.run(self.hub.subscribe(), self.shutdown.clone()))))
    }

    async fn list_regions(
        &self,
        _request: Request<ListRegionsRequest>,
    ) -> Result<Response<ListRegionsResponse>, Status> {
        Api::list_regions(self).await.map(Response::new).map_err(|e| error::database(&e))
    }
}

pub(crate) use error::database as database_status;
