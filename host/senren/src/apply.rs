//! `senren apply` and `senren rollback`: the plan, the question, and exactly what was shown is applied, or nothing.

use senren_api::v1::{ApplyStateRequest, ApplyStateResponse, RollbackStateRequest};

use crate::{
    cli::{ApplyArgs, RollbackArgs},
    client::Client,
    consent::{self, Consent},
    document::Document,
    exit::{Exit, Failure},
    outcome,
    output::{self, Stream},
    plan,
    views::Plan,
};

/// Applies a file.
pub async fn run(args: ApplyArgs) -> Result<(), Failure> {
    let document = Document::read(&args.file)?;
    let consent = Consent::of(&args.consent, &format!("senren plan -f {}", args.file.display()))?;
    let client = Client::open(&args.connection).await?;
    let mut request = ApplyStateRequest {
        request_id: args.request_id.clone().unwrap_or_default(),
        expected_revision: args.expected_revision,
        author: consent::author(args.consent.author.as_deref()),
        confirm_data_loss: args.confirm_data_loss,
        ..document.request.clone()
    };
    if consent == Consent::Asked {
        let plan = plan::of_document(&client, &document, args.confirm_data_loss).await?;
        request.expected_revision = Some(agree(consent, &plan, args.expected_revision)?);
    }
    let response = apply(&client, request, &document).await?;
    outcome::show(&client, response, &args.waiting, args.output).await
}

/// One ApplyState call; violations are told at their place in `document`.
pub async fn apply(
    client: &Client,
    request: ApplyStateRequest,
    document: &Document,
) -> Result<ApplyStateResponse, Failure> {
    client.call_about(document, request, async |mut grpc, request| grpc.apply_state(request).await).await
}

/// Goes back to an earlier revision.
pub async fn rollback(args: RollbackArgs) -> Result<(), Failure> {
    let site = &args.scope.site;
    let look = format!("senren plan --rollback {} --site {site}", args.revision);
    let consent = Consent::of(&args.consent, &look)?;
    let client = Client::open(&args.connection).await?;
    let mut request = RollbackStateRequest {
        site: site.clone(),
        revision: args.revision,
        request_id: args.request_id.clone().unwrap_or_default(),
        expected_revision: args.expected_revision,
        author: consent::author(args.consent.author.as_deref()),
        confirm_data_loss: args.confirm_data_loss,
    };
    if consent == Consent::Asked {
        let plan = plan::of_rollback(&client, site, Some(args.revision), args.confirm_data_loss).await?;
        request.expected_revision = Some(agree(consent, &plan, args.expected_revision)?);
    }
    let call = client.call(request, async |mut grpc, request| grpc.rollback_state(request).await);
    outcome::show(&client, call.await?, &args.waiting, args.output).await
}

/// Shows a plan and asks; the revision that it holds for. What changes nothing needs no answer.
fn agree(consent: Consent, plan: &Plan, expected: Option<u64>) -> Result<u64, Failure> {
    if let Some(expected) = expected.filter(|expected| *expected != plan.revision) {
        let Plan { site, revision, .. } = plan;
        let message =
            format!("refused, nothing was changed: site {site} is at revision {revision}, not {expected}");
        return Err(Failure::new(Exit::Refused, message));
    }
    output::warnings(&plan.warnings);
    eprintln!("{}", plan.text(output::colour(Stream::Err)));
    if plan.changes_anything() {
        consent.ask("Apply this?")?;
    }
    Ok(plan.revision)
}
