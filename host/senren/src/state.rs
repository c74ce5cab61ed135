//! `senren state` and `senren diff`: what a site declares, as a file that `senren apply` takes, and how two of these
//! differ.

use senren_api::v1::{GetStateRequest, GetStateResponse};
use similar::{ChangeTag, TextDiff};

use crate::{
    cli::{DiffArgs, Format, StateArgs},
    client::Client,
    document::{Declaration, Document},
    exit::{Exit, Failure},
    output::{self, Stream},
    paint::Paint,
};

/// Prints what a site declares.
pub async fn run(args: StateArgs) -> Result<(), Failure> {
    let client = Client::open(&args.connection).await?;
    let state = get(&client, args.scope.name(), args.revision).await?;
    let declaration = Declaration::new(&state.site, &state.databases);
    match args.output {
        Format::Json => output::print(&declaration.to_json()?),
        Format::Yaml => output::print(&format!("{}\n{}", heading(&state), declaration.to_yaml()?.trim_end())),
    }
}

/// Shows how two declarations differ; ends with 1 if they do.
pub async fn diff(args: DiffArgs) -> Result<(), Failure> {
    // Status 1 says that they differ, and nothing else.
    let trouble = |failure: Failure| match failure.exit {
        Exit::Failed => Failure::new(Exit::Usage, failure.to_string()),
        _ => failure,
    };
    if differ(args).await.map_err(trouble)? { Err(Failure::silent(Exit::Failed)) } else { Ok(()) }
}

async fn differ(args: DiffArgs) -> Result<bool, Failure> {
    let mut document = args.file.as_deref().map(Document::read).transpose()?;
    if let Some(document) = &mut document {
        document.settle_site(args.scope.told())?;
    }
    let client = Client::open(&args.connection).await?;
    let site = match &document {
        Some(document) => &document.request.site,
        None => args.scope.name(),
    };
    let from = get(&client, site, args.from).await?;
    let (to, to_title) = match &document {
        Some(document) => (Declaration::new(&from.site, &document.request.databases), document.file.clone()),
        None => {
            let to = get(&client, site, args.to).await?;
            (Declaration::new(&to.site, &to.databases), title(&to))
        }
    };
    let (before, after) = (Declaration::new(&from.site, &from.databases).to_yaml()?, to.to_yaml()?);
    if before == after {
        return Ok(false);
    }
    output::print(
        unified(&before, &after, &title(&from), &to_title, output::colour(Stream::Out)).trim_end(),
    )?;
    Ok(true)
}

async fn get(client: &Client, site: &str, revision: Option<u64>) -> Result<GetStateResponse, Failure> {
    let request = GetStateRequest { site: site.to_owned(), revision };
    client.call(request, async |mut grpc, request| grpc.get_state(request).await).await
}

fn title(state: &GetStateResponse) -> String {
    format!("site {}, revision {}", state.site, state.revision)
}

/// As a comment of the file.
fn heading(state: &GetStateResponse) -> String {
    match crate::views::time(state.applied_at) {
        Some(at) => format!("# {}, of {at:.0}, by {}", title(state), state.author.escape_debug()),
        None => format!("# {}", title(state)),
    }
}

fn unified(before: &str, after: &str, from: &str, to: &str, colour: bool) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut text = format!("--- {from}\n+++ {to}\n");
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        text += &format!("{}\n", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, paint) = match change.tag() {
                ChangeTag::Equal => (' ', Paint::Plain),
                ChangeTag::Insert => ('+', Paint::Good),
                ChangeTag::Delete => ('-', Paint::Bad),
            };
            let line = format!("{sign}{}", change.value().trim_end_matches('\n'));
            text += &format!("{}\n", paint.on(&line, colour));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_as_diff_does() {
        let text = unified("a\nb\n", "a\nc\n", "revision 1", "f.yaml", false);
        assert_eq!(text, "--- revision 1\n+++ f.yaml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert!(unified("a\n", "b\n", "x", "y", true).contains("\x1b[31m-a\x1b[0m\n\x1b[32m+b\x1b[0m"));
    }
}
