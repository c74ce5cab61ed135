//! `senren history`.

use jiff::Timestamp;
use senren_api::v1::ListHistoryRequest;

use crate::{
    cli::HistoryArgs,
    client::Client,
    exit::Failure,
    outcome, output,
    table::{Table, age},
    views::{Entry, History},
};

/// Shows the revisions of a site, the latest first.
pub async fn run(args: HistoryArgs) -> Result<(), Failure> {
    let client = Client::open(&args.connection).await?;
    let request = ListHistoryRequest {
        site: args.scope.name().to_owned(),
        limit: args.limit,
        before_revision: args.before,
    };
    let answer = client.call(request, async |mut grpc, request| grpc.list_history(request).await).await?;
    output::show(args.output, &History::from(answer), |history| text(history, Timestamp::now()))
}

fn text(history: &History, now: Timestamp) -> String {
    if history.entries.is_empty() {
        return format!("Site {} has no revision to show.", history.site);
    }
    let mut table = Table::new(&["REVISION", "AGE", "AUTHOR", "KIND", "CHANGES"]);
    for entry in &history.entries {
        table.row(vec![
            entry.revision.to_string().into(),
            entry.applied_at.map(|at| age(at, now)).unwrap_or_default().into(),
            entry.author.as_str().into(),
            kind(entry).into(),
            outcome::counts(&entry.changes).into(),
        ]);
    }
    table.render()
}

fn kind(entry: &Entry) -> String {
    match entry.rollback_to {
        Some(revision) => format!("{} to {revision}", entry.kind),
        None => entry.kind.clone(),
    }
}
