//! The gRPC service `senren.v1.ControlPlane`: parses, checks, calls the step, answers.
//!
//! It never trusts a field that `request` has not parsed, and never lets a caller see what the database says.

mod answer;
mod apply;
mod caller;
mod check;
mod error;
mod held;
mod plan;
mod regions;
mod request;
mod state;

use std::{pin::Pin, time::Instant};

use futures::Stream;
use senren_api::v1::{
    ApplyStateRequest, ApplyStateResponse, ConfirmHeldRequest, ConfirmHeldResponse, ForceDeleteRequest,
    ForceDeleteResponse, GetStateRequest, GetStateResponse, GetStatusRequest, GetStatusResponse,
    ListHistoryRequest, ListHistoryResponse, ListRegionsRequest, ListRegionsResponse, PlanStateRequest,
    PlanStateResponse, RollbackStateRequest, WatchStatusRequest, WatchStatusResponse,
    control_plane_server::ControlPlane,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;

use crate::{
    catalog::{Catalog, Plugins},
    hub::Hub,
    plan::Limits,
    sources::Sources,
    status,
    store::{Store, heartbeats, regions as stored_regions, resources, revision::Kind, sites},
    watch::{Feeds, Watch},
};
use apply::Order;
use request::{Declared, Invalid, Violations};

/// What an operator may decide about the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct Settings {
    /// Deletions are held until somebody confirms them where more than so many of a site would go at once, and more than
    /// HOLD_DELETIONS_PERCENT, or all of them. 0: none is ever held.
    #[arg(long, env = "HOLD_DELETIONS_OVER", default_value_t = 3)]
    pub hold_deletions_over: u32,
    /// See HOLD_DELETIONS_OVER. 0: none is ever held.
    #[arg(long, env = "HOLD_DELETIONS_PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u32).range(..=100))]
    pub hold_deletions_percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hold_deletions_over: 3, hold_deletions_percent: 30 }
    }
}

impl Settings {
    fn limits(self) -> Limits {
        Limits { count: self.hold_deletions_over, percent: self.hold_deletions_percent }
    }
}

/// The service.
#[derive(Clone)]
pub struct Api {
    store: Store,
    hub: Hub,
    sources: Sources,
    settings: Settings,
    catalog: Catalog,
    feeds: Feeds,
    // Watches end with it.
    shutdown: CancellationToken,
}

impl Api {
    /// A service on a store. It wakes relay and watchers through `hub`.
    pub fn new(
        store: Store,
        hub: Hub,
        sources: Sources,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Self {
        let feeds = Feeds::new(store.clone(), sources.clone(), hub.clone());
        Self { store, hub, sources, settings, catalog: Catalog::default(), feeds, shutdown }
    }

    async fn apply(&self, request: ApplyStateRequest) -> Result<ApplyStateResponse, Status> {
        let order = self.order(request).await?;
        apply::revise(self, &order).await.map_err(error::refusal)
    }

    /// Parses what is to be applied.
    async fn order(&self, request: ApplyStateRequest) -> Result<Order, Status> {
        let parsed = match request::Apply::parse(request) {
            Ok(parsed) => parsed,
            Err(invalid) => return Err(error::invalid(self.all_violations(invalid).await)),
        };
        let request::Apply { site, request, expected_revision, databases, author, confirm_data_loss } =
            parsed;
        let kind = Kind::Apply;
        Ok(Order { site, request, expected_revision, databases, kind, author, confirm_data_loss })
    }

    /// Together with what the regions say of what can be read, so that a user need not come twice.
    async fn all_violations(&self, mut invalid: Invalid) -> Violations {
        let declared: Vec<&Declared> = invalid.declared.iter().collect();
        let checked = async {
            let mut connection = self.store.acquire().await?;
            let seen = heartbeats::of(&mut connection, &check::regions(&declared)).await?;
            check::check(&mut connection, &self.catalog, &declared, &seen, self.sources.now()).await
        };
        // Without the database, what is known is said.
        if let Ok(Err(more)) = checked.await {
            invalid.violations.append(more);
        }
        invalid.violations
    }

    async fn get_status(&self, request: GetStatusRequest) -> Result<GetStatusResponse, Status> {
        let selection = request::selection(&request.site, request.regions, request.names, "");
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

/// A call that may change a site. Detached from whoever made it: a client that hangs up must not leave a connection in the
/// middle of something.
async fn revising<T: Send + 'static>(
    method: &'static str,
    call: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<Response<T>, Status> {
    let begin = Instant::now();
    let ended = tokio::spawn(call.in_current_span()).await;
    let result = ended.unwrap_or_else(|_| Err(Status::internal("the call was cut short; try again")));
    let code = result.as_ref().err().map_or(Code::Ok, Status::code);
    metrics::counter!("senren_applies_total", "method" => method, "code" => format!("{code:?}")).increment(1);
    metrics::histogram!("senren_apply_seconds", "method" => method).record(begin.elapsed().as_secs_f64());
    result.map(Response::new)
}

#[tonic::async_trait]
impl ControlPlane for Api {
    async fn apply_state(
        &self,
        request: Request<ApplyStateRequest>,
    ) -> Result<Response<ApplyStateResponse>, Status> {
        let author = caller::author(&request, &request.get_ref().author);
        let (api, mut request) = (self.clone(), request.into_inner());
        request.author = author;
        revising("ApplyState", async move { api.apply(request).await }).await
    }

    async fn plan_state(
        &self,
        request: Request<PlanStateRequest>,
    ) -> Result<Response<PlanStateResponse>, Status> {
        Api::plan_state(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_state(
        &self,
        request: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        Api::get_state(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_history(
        &self,
        request: Request<ListHistoryRequest>,
    ) -> Result<Response<ListHistoryResponse>, Status> {
        Api::list_history(self, request.into_inner()).await.map(Response::new)
    }

    async fn rollback_state(
        &self,
        request: Request<RollbackStateRequest>,
    ) -> Result<Response<ApplyStateResponse>, Status> {
        let author = caller::author(&request, &request.get_ref().author);
        let (api, mut request) = (self.clone(), request.into_inner());
        request.author = author;
        revising("RollbackState", async move { api.rollback(request).await }).await
    }

    async fn confirm_held(
        &self,
        request: Request<ConfirmHeldRequest>,
    ) -> Result<Response<ConfirmHeldResponse>, Status> {
        let author = caller::author(&request, &request.get_ref().author);
        let (api, mut request) = (self.clone(), request.into_inner());
        request.author = author;
        revising("ConfirmHeld", async move { api.confirm(request).await }).await
    }

    async fn force_delete(
        &self,
        request: Request<ForceDeleteRequest>,
    ) -> Result<Response<ForceDeleteResponse>, Status> {
        let author = caller::author(&request, &request.get_ref().author);
        let (api, mut request) = (self.clone(), request.into_inner());
        request.author = author;
        revising("ForceDelete", async move { api.force_delete(request).await }).await
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
        let selection = request::selection(&request.site, request.regions, request.names, "");
        let (site, filter) = selection.map_err(error::invalid)?;
        let watch = Watch::new(self.feeds.of(&site), filter);
        Ok(Response::new(Box::pin(watch.run(self.shutdown.clone()))))
    }

    async fn list_regions(
        &self,
        _request: Request<ListRegionsRequest>,
    ) -> Result<Response<ListRegionsResponse>, Status> {
        Api::list_regions(self).await.map(Response::new).map_err(|e| error::database(&e))
    }
}

pub(crate) use answer::hold as present_hold;
pub(crate) use error::database as database_status;
