//! `senren apply` and `senren rollback`: the plan, the question, and exactly what was shown is applied, or nothing.

use senren_api::v1::{ApplyStateRequest, ApplyStateResponse, RollbackStateRequest};

use crate::{
    cli::{ApplyArgs, RollbackArgs, Terms},
    client::Client,
    consent::{self, Consent},
    document::Document,
    exit::{Exit, Failure},
    outcome,
    output::{self, Stream, say},
    plan,
    views::Plan,
};

/// Applies a file.
pub async fn run(args: ApplyArgs) -> Result<(), Failure> {
    let terms = args.terms;
    let mut document = Document::read(&args.file)?;
    document.settle_site(terms.scope.told())?;
    let consent = Consent::of(&terms.consent, &format!("senren plan -f {}", args.file.display()))?;
    let client = Client::open(&terms.connection).await?;
    let mut request = ApplyStateRequest {
        request_id: terms.request_id.clone().unwrap_or_default(),
        expected_revision: terms.expected_revision,
        author: consent::author(terms.consent.author.as_deref()),
        confirm_data_loss: terms.confirm_data_loss,
        ..document.request.clone()
    };
    if consent == Consent::Asked {
        let plan = plan::of_document(&client, &document, terms.confirm_data_loss).await?;
        request.expected_revision = Some(agree(consent, &plan, &terms)?);
    }
    let response = apply(&client, request, &document).await?;
    outcome::show(&client, response, &terms.waiting, terms.output).await
}

/// One ApplyState call; violations are told at their place in `document`.
pub async fn apply(
    client: &Client,
    request: ApplyStateRequest,
    document: &Document,
) -> Result<ApplyStateResponse, Failure> {
    let call =
        client.call_about(document, request, async |mut grpc, request| grpc.apply_state(request).await);
    call.await.map_err(Failure::unsure)
}

/// Goes back to an earlier revision.
pub async fn rollback(args: RollbackArgs) -> Result<(), Failure> {
    let terms = args.terms;
    let site = terms.scope.name();
    let look = format!("senren plan --rollback {} --site {site}", args.revision);
    let consent = Consent::of(&terms.consent, &look)?;
    let client = Client::open(&terms.connection).await?;
    let mut request = RollbackStateRequest {
        site: site.to_owned(),
        revision: args.revision,
        request_id: terms.request_id.clone().unwrap_or_default(),
        expected_revision: terms.expected_revision,
        author: consent::author(terms.consent.author.as_deref()),
        confirm_data_loss: terms.confirm_data_loss,
    };
    if consent == Consent::Asked {
        let plan = plan::of_rollback(&client, site, Some(args.revision), terms.confirm_data_loss).await?;
        request.expected_revision = Some(agree(consent, &plan, &terms)?);
    }
    let call = client.call(request, async |mut grpc, request| grpc.rollback_state(request).await);
    let response = call.await.map_err(Failure::unsure)?;
    outcome::show(&client, response, &terms.waiting, terms.output).await
}

/// Shows a plan and asks; the revision that it holds for. What changes nothing needs no answer.
fn agree(consent: Consent, plan: &Plan, terms: &Terms) -> Result<u64, Failure> {
    if let Some(expected) = terms.expected_revision.filter(|expected| *expected != plan.revision) {
        let Plan { site, revision, .. } = plan;
        let message =
            format!("refused, nothing was changed: site {site} is at revision {revision}, not {expected}");
        return Err(Failure::new(Exit::Refused, message));
    }
    output::warnings(&plan.warnings);
    say!("{}", plan.text(output::colour(Stream::Err)));
    if plan.changes_anything() {
        consent.ask("Apply this?")?;
    }
    Ok(plan.revision)
}
