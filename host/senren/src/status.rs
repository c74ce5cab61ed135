//! `senren status`: once, or with `--watch` until interrupted. A watch that loses its connection says so and
//! connects again; what it shows is then complete again.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use jiff::Timestamp;
use senren_api::v1::{GetStatusRequest, WatchStatusRequest, watch_status_response::Kind};

use crate::{
    cli::{Output, StatusArgs},
    client::Client,
    exit::{Exit, Failure},
    output, table,
    views::{Event, Resource, Status},
};

/// Shows the resources of a site.
pub async fn run(args: StatusArgs) -> Result<(), Failure> {
    if !args.watch {
        return once(&args).await;
    }
    let mut client = Client::open(&args.connection).await?;
    loop {
        let failure = match watch(&args, &mut client).await {
            Ok(()) => Failure::new(Exit::Unreachable, "the control plane ended the watch"),
            Err(failure) if failure.exit == Exit::Unreachable => failure,
            Err(failure) => return Err(failure),
        };
        eprintln!("senren: {failure}\nsenren: trying again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn once(args: &StatusArgs) -> Result<(), Failure> {
    let client = Client::open(&args.connection).await?;
    let request = GetStatusRequest {
        site: args.scope.site.clone(),
        regions: args.regions.clone(),
        names: args.names.clone(),
    };
    let answer = client.call(request, async |mut grpc, request| grpc.get_status(request).await).await?;
    let status = Status::from(answer);
    output::show(args.output, &status, |status| text(&status.site, status.revision, &status.resources))
}

fn text<'a>(site: &str, revision: u64, resources: impl IntoIterator<Item = &'a Resource>) -> String {
    let mut resources = resources.into_iter().peekable();
    match (revision, resources.peek()) {
        (0, _) => format!("Nothing was ever applied to site {site}."),
        (_, None) => format!("Site {site} is at revision {revision}: no database to show."),
        _ => table::resources(resources, Timestamp::now()).render(),
    }
}

async fn watch(args: &StatusArgs, client: &mut Client) -> Result<(), Failure> {
    let request = WatchStatusRequest {
        site: args.scope.site.clone(),
        regions: args.regions.clone(),
        names: args.names.clone(),
    };
    let response = client.grpc.watch_status(request).await.map_err(|status| client.failure(&status))?;
    let mut events = response.into_inner();
    let live = args.output == Output::Table && std::io::stdout().is_terminal();
    let mut screen = Screen { site: args.scope.site.clone(), ..Screen::default() };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = events.message() => {
                let Some(event) = event.map_err(|status| client.failure(&status))? else { return Ok(()) };
                if live {
                    screen.take(event);
                } else {
                    output::show_next(args.output, &Event::from(event), line)?;
                }
            }
            // The ages move on; and a burst of changes is drawn once.
            _ = tick.tick(), if live => {}
        }
        if live {
            screen.draw()?;
        }
    }
}

/// One event as one line, for a log.
fn line(event: &Event) -> String {
    let now = Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
    match &event.resource {
        None => format!("{now}  revision {}: all shown, waiting for changes", event.revision),
        Some(resource) if event.kind == "removed" => {
            format!("{now}  {}  {}  Removed", resource.region, resource.name)
        }
        Some(resource) => {
            let endpoint = table::endpoint(resource);
            let why = if resource.ready { endpoint } else { table::why(resource) };
            let phase = table::phase(resource);
            format!("{now}  {}  {}  {phase}  {why}", resource.region, resource.name).trim_end().to_owned()
        }
    }
}

/// The table on a terminal.
#[derive(Default)]
struct Screen {
    site: String,
    revision: u64,
    synced: bool,
    resources: BTreeMap<(String, String), Resource>,
}

impl Screen {
    fn take(&mut self, event: senren_api::v1::WatchStatusResponse) {
        self.revision = event.revision;
        let kind = event.kind();
        self.synced |= kind == Kind::Synced;
        if let Some(resource) = event.resource.map(Resource::from) {
            let key = (resource.name.clone(), resource.region.clone());
            match kind {
                // The removal of an earlier resource of that name is not about its successor.
                Kind::Removed if self.resources.get(&key).is_some_and(|known| known.uid == resource.uid) => {
                    self.resources.remove(&key);
                }
                Kind::Removed => {}
                _ => {
                    self.resources.insert(key, resource);
                }
            }
        }
    }

    fn draw(&self) -> Result<(), Failure> {
        if !self.synced {
            return Ok(());
        }
        let text = text(&self.site, self.revision, self.resources.values());
        // Home, and clear to the end: no flicker, and the last table stays when we are interrupted.
        print!("\x1b[H\x1b[J");
        output::print(&format!(
            "{}\n\nsite {}, revision {}; Ctrl-C ends",
            text.trim_end(),
            self.site,
            self.revision
        ))?;
        std::io::stdout().flush().map_err(|error| anyhow::anyhow!(error))?;
        Ok(())
    }
}
