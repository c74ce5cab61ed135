//! `senren confirm` and `senren force-delete`: the two commands after which data may be gone for good. Both show
//! exactly what that concerns, and ask.

use std::collections::BTreeSet;

use senren_api::v1::{ApplyStateResponse, ConfirmHeldRequest, ForceDeleteRequest, GetStatusRequest};

use crate::{
    cli::{ConfirmArgs, ForceDeleteArgs},
    client::Client,
    consent::{self, Consent},
    exit::{Exit, Failure},
    outcome,
    output::{self, plain_lines, say},
    views::{Forgotten, Resource},
};

/// Lets happen what is held.
pub async fn confirm(args: ConfirmArgs) -> Result<(), Failure> {
    let site = args.scope.name();
    let consent = Consent::of(&args.consent, &format!("senren status --site {site}"))?;
    let client = Client::open(&args.connection).await?;
    let (mut names, mut regions) = (args.names.clone(), args.regions.clone());
    let mut expected_revision = args.expected_revision;
    if consent == Consent::Asked {
        let (revision, mut held) = resources(&client, site, &args.names, &args.regions).await?;
        held.retain(|resource| resource.hold.is_some());
        if held.is_empty() {
            return Err(Failure::new(Exit::Refused, format!("nothing that matches is held in site {site}")));
        }
        for resource in &held {
            let Resource { region, name, r#type, hold, .. } = resource;
            let (kind, message) = hold.as_ref().map(|hold| (&*hold.kind, &*hold.message)).unwrap_or_default();
            say!("{kind} of {name} ({type}) in {region}\n    {}", plain_lines(message));
        }
        consent.ask("Let this happen, and its data be lost?")?;
        // Not what has come to be held while the question stood.
        names = distinct(held.iter().map(|resource| &resource.name));
        regions = distinct(held.iter().map(|resource| &resource.region));
        expected_revision = expected_revision.or(Some(revision));
    }
    let request = ConfirmHeldRequest {
        site: site.to_owned(),
        names,
        regions,
        expected_revision,
        author: consent::author(args.consent.author.as_deref()),
    };
    let answer = client.call(request, async |mut grpc, request| grpc.confirm_held(request).await);
    let answer = answer.await.map_err(Failure::unsure)?;
    let response = ApplyStateResponse {
        site: answer.site,
        revision: answer.revision,
        changes: answer.changes,
        warnings: Vec::new(),
    };
    outcome::show(&client, response, &args.waiting, args.output).await
}

/// Forgets what a lost region will never say is gone.
pub async fn force_delete(args: ForceDeleteArgs) -> Result<(), Failure> {
    let (site, region) = (args.scope.name(), &args.region);
    let consent = Consent::of(&args.consent, &format!("senren status --site {site} --region {region}"))?;
    let client = Client::open(&args.connection).await?;
    let mut names = args.names.clone();
    if consent == Consent::Asked {
        let (_, mut lost) = resources(&client, site, &args.names, std::slice::from_ref(region)).await?;
        lost.retain(|resource| resource.deleting);
        if lost.is_empty() {
            let message = format!("nothing that matches is being deleted in {region}, site {site}");
            return Err(Failure::new(Exit::Refused, message));
        }
        for resource in &lost {
            say!("{} ({}) in {region}: {}", resource.name, resource.r#type, plain_lines(&resource.message));
        }
        consent.ask(&format!("Is {region} gone for good, and may all of this be forgotten?"))?;
        names = distinct(lost.iter().map(|resource| &resource.name));
    }
    let request = ForceDeleteRequest {
        site: site.to_owned(),
        region: region.clone(),
        names,
        author: consent::author(args.consent.author.as_deref()),
    };
    let answer = client.call(request, async |mut grpc, request| grpc.force_delete(request).await);
    let answer = answer.await.map_err(Failure::unsure)?;
    output::show(args.output, &Forgotten::from(answer), |forgotten| {
        let table = outcome::changes(&forgotten.changes);
        format!("{table}site {}: {} forgotten", forgotten.site, forgotten.changes.len())
    })
}

fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    texts.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

async fn resources(
    client: &Client,
    site: &str,
    names: &[String],
    regions: &[String],
) -> Result<(u64, Vec<Resource>), Failure> {
    let request =
        GetStatusRequest { site: site.to_owned(), regions: regions.to_vec(), names: names.to_vec() };
    let answer = client.call(request, async |mut grpc, request| grpc.get_status(request).await).await?;
    Ok((answer.revision, answer.resources.into_iter().map(Resource::from).collect()))
}
