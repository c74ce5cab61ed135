//! `senren apply`: a file in, what became of each resource out; with `--wait`, how it went on.

use jiff::Timestamp;
use senren_api::v1::{ApplyStateRequest, ApplyStateResponse};

use crate::{
    cli::{ApplyArgs, Output},
    client::{CALL_TIMEOUT, Client},
    document::Document,
    exit::Failure,
    output,
    progress::Progress,
    table::{self, Table},
    views::{Applied, Resource},
    wait::{self, Goals},
};

/// Applies a file.
pub async fn run(args: ApplyArgs) -> Result<(), Failure> {
    let document = Document::read(&args.file)?;
    let mut client = Client::connect(&args.connection.endpoint).await?;
    let request = ApplyStateRequest {
        request_id: args.request_id.clone().unwrap_or_default(),
        expected_revision: args.expected_revision,
        ..document.request.clone()
    };
    let response = apply(&mut client, request, &document).await?;
    let goals = Goals::of(&response);
    let mut applied = Applied::from(response);
    for warning in &applied.warnings {
        eprintln!("warning: {}: {}", warning.code, warning.message);
    }
    if !args.wait {
        return output::show(args.output, &applied, changes);
    }

    eprintln!("{}", summary(&applied));
    let mut progress = Progress::on_stderr();
    let waited =
        wait::converge(&client, goals, args.timeout, |status, settled| progress.show(status, settled)).await;
    progress.finish();
    let (goals, result) = waited;
    applied.resources = Some(goals.into_latest().map(Resource::from).collect());
    let nothing_left = applied.resources.as_ref().is_none_or(Vec::is_empty);
    if args.output != Output::Table || !nothing_left {
        output::show(args.output, &applied, |applied| {
            table::resources(applied.resources.iter().flatten(), Timestamp::now()).render()
        })?;
    }
    if args.output == Output::Table && result.is_ok() {
        eprintln!("site {} is as declared", applied.site);
    }
    result
}

/// One ApplyState call; violations are told at their place in `document`.
pub async fn apply(
    client: &mut Client,
    request: ApplyStateRequest,
    document: &Document,
) -> Result<ApplyStateResponse, Failure> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(CALL_TIMEOUT);
    let response = client.grpc.apply_state(request).await;
    Ok(response.map_err(|status| client.failure_about(&status, Some(document)))?.into_inner())
}

fn changes(applied: &Applied) -> String {
    let mut table = Table::new(&["REGION", "NAME", "TYPE", "ACTION", "GENERATION"]);
    for change in &applied.changes {
        table.row(vec![
            change.region.as_str().into(),
            change.name.as_str().into(),
            change.r#type.as_str().into(),
            change.action.into(),
            change.generation.to_string().into(),
        ]);
    }
    format!("{}{}", if applied.changes.is_empty() { String::new() } else { table.render() }, summary(applied))
}

/// `site default, revision 3: 2 created, 1 unchanged`.
pub fn summary(applied: &Applied) -> String {
    let count = |action: &str| applied.changes.iter().filter(|change| change.action == action).count();
    let counts: Vec<String> = ["created", "updated", "replaced", "deleted", "unchanged"]
        .iter()
        .map(|action| (count(action), action))
        .filter(|(count, _)| *count > 0)
        .map(|(count, action)| format!("{count} {action}"))
        .collect();
    let counts = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    format!("site {}, revision {}: {counts}", applied.site, applied.revision)
}
