//! `senren status`: once, or with `--watch` until interrupted. A watch that loses its connection says so and
//! connects again; what it shows is then complete again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    time::Duration,
};

use console::{Term, truncate_str};
use jiff::Timestamp;
use senren_api::v1::{GetStatusRequest, WatchStatusRequest, watch_status_response::Kind};
use tokio::time::MissedTickBehavior;

use crate::{
    cli::{Output, StatusArgs},
    client::Client,
    exit::{Exit, Failure},
    output::{self, plain, say},
    table,
    views::{Event, Resource, Status},
};

/// How often a terminal is drawn on.
const FRAME: Duration = Duration::from_millis(250);

/// Shows the resources of a site.
pub async fn run(args: StatusArgs) -> Result<(), Failure> {
    if !args.watch {
        return once(&args).await;
    }
    let mut client = Client::open(&args.connection).await?;
    // Of one outage is told once.
    let mut lost = false;
    loop {
        let failure = match watch(&args, &mut client, &mut lost).await {
            Ok(()) => Failure::new(Exit::Unreachable, "the control plane ended the watch"),
            Err(failure) if failure.exit == Exit::Unreachable => failure,
            Err(failure) => return Err(failure),
        };
        if !std::mem::replace(&mut lost, true) {
            say!("senren: {failure}\nsenren: trying again");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn once(args: &StatusArgs) -> Result<(), Failure> {
    let client = Client::open(&args.connection).await?;
    let request = GetStatusRequest {
        site: args.scope.name().to_owned(),
        regions: args.regions.clone(),
        names: args.names.clone(),
    };
    let answer = client.call(request, async |mut grpc, request| grpc.get_status(request).await).await?;
    let status = Status::from(answer);
    output::show(args.output, &status, |status| text(&status.site, status.revision, &status.resources))?;
    let found: BTreeSet<&str> = status.resources.iter().map(|resource| &*resource.name).collect();
    let missing: Vec<&str> =
        args.names.iter().map(String::as_str).filter(|name| !found.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let place = match args.regions.as_slice() {
        [] => String::new(),
        regions => format!(" in {}", regions.join(", ")),
    };
    let message = format!("site {} has no database {}{place}", status.site, missing.join(", "));
    Err(Failure::new(Exit::Refused, message))
}

fn text<'a>(site: &str, revision: u64, resources: impl IntoIterator<Item = &'a Resource>) -> String {
    let mut resources = resources.into_iter().peekable();
    match (revision, resources.peek()) {
        (0, _) => format!("Nothing was ever applied to site {site}."),
        (_, None) => format!("Site {site} is at revision {revision}: no database to show."),
        _ => table::resources(resources, Timestamp::now()).render(),
    }
}

async fn watch(args: &StatusArgs, client: &mut Client, lost: &mut bool) -> Result<(), Failure> {
    let request = WatchStatusRequest {
        site: args.scope.name().to_owned(),
        regions: args.regions.clone(),
        names: args.names.clone(),
    };
    let response = client.grpc.watch_status(request).await.map_err(|status| client.failure(&status))?;
    let mut events = response.into_inner();
    *lost = false;
    let live = args.output == Output::Table && std::io::stdout().is_terminal();
    let mut screen = Screen { site: args.scope.name().to_owned(), ..Screen::default() };
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            // A burst of changes is drawn once; and the ages move on.
            _ = frames.tick(), if live => screen.draw()?,
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
            let line = format!("{now}  {}  {}  {phase}  {why}", resource.region, resource.name);
            plain(line.trim_end()).into_owned()
        }
    }
}

/// The table on a terminal.
#[derive(Default)]
struct Screen {
    site: String,
    revision: u64,
    synced: bool,
    /// By name, region and uid: what replaces another stands beside it until that is gone.
    resources: BTreeMap<(String, String, String), Resource>,
}

impl Screen {
    fn take(&mut self, event: senren_api::v1::WatchStatusResponse) {
        self.revision = event.revision;
        let kind = event.kind();
        self.synced |= kind == Kind::Synced;
        if let Some(resource) = event.resource.map(Resource::from) {
            let key = (resource.name.clone(), resource.region.clone(), resource.uid.clone());
            match kind {
                Kind::Removed => self.resources.remove(&key),
                _ => self.resources.insert(key, resource),
            };
        }
    }

    fn draw(&self) -> Result<(), Failure> {
        if !self.synced {
            return Ok(());
        }
        let text = text(&self.site, self.revision, self.resources.values());
        let note = format!("site {}, revision {}; Ctrl-C ends", self.site, self.revision);
        let (rows, columns) = Term::stdout().size();
        output::print(&frame(&text, &note, rows.into(), columns.into()))
    }
}

/// What is drawn on a terminal of that size: never more than fits, or each frame would push the one before it up. In
/// place, without a blank screen in between; and the last frame stays when we are interrupted.
fn frame(text: &str, note: &str, rows: usize, columns: usize) -> String {
    // The note, a blank line before it, and the line that the cursor ends up in.
    let room = rows.saturating_sub(3).max(2);
    let mut lines: Vec<&str> = text.lines().collect();
    let hidden = (lines.len() + 1).saturating_sub(room);
    let more = format!("… and {hidden} more: name some, or a --region");
    if lines.len() > room {
        lines.truncate(room - 1);
        lines.push(&more);
    }
    lines.extend(["", note]);
    let cut = |line| truncate_str(line, columns, "…");
    let drawn: String = lines.into_iter().map(|line| format!("{}\x1b[K\n", cut(line))).collect();
    format!("\x1b[H{}\x1b[J", drawn.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_never_larger_than_the_terminal() {
        let text = (0..100).map(|n| format!("\x1b[31m{n:>20}\x1b[0m\n")).collect::<String>();
        let drawn = frame(&text, "note", 10, 10);
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines.len(), 9, "{drawn:?}");
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 10), "{drawn:?}");
        assert!(lines[0].ends_with("…\x1b[0m\x1b[K"), "{drawn:?}");
        assert!(lines[6].starts_with("… and 94"), "{drawn:?}");
        let small = frame("head\nrow\n", "note", 10, 80);
        assert_eq!(small, "\x1b[Hhead\x1b[K\nrow\x1b[K\n\x1b[K\nnote\x1b[K\x1b[J");
    }
}
