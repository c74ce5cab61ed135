//! What came of a change: the answer to it and, with `--wait`, how it went on.

use jiff::Timestamp;
use senren_api::v1::ApplyStateResponse;

use crate::{
    cli::{Output, Waiting},
    client::Client,
    exit::Failure,
    output::{self, plain, say},
    progress::Progress,
    table::{self, Table},
    views::{Applied, Change, Resource},
    wait::{self, Goals},
};

/// Shows it, once all is as asked for where that is waited for.
pub async fn show(
    client: &Client,
    response: ApplyStateResponse,
    waiting: &Waiting,
    output: Output,
) -> Result<(), Failure> {
    let goals = Goals::of(&response);
    let mut applied = Applied::from(response);
    output::warnings(&applied.warnings);
    held(&applied.changes);
    if !waiting.wait {
        return output::show(output, &applied, |applied| {
            format!("{}{}", changes(&applied.changes), summary(applied))
        });
    }

    say!("{}", summary(&applied));
    let mut progress = Progress::on_stderr();
    let waited =
        wait::converge(client, goals, waiting.timeout, |status, settled| progress.show(status, settled));
    let (goals, result) = waited.await;
    progress.finish();
    applied.resources = Some(goals.into_latest().map(Resource::from).collect());
    let nothing_left = applied.resources.as_ref().is_none_or(Vec::is_empty);
    if output != Output::Table || !nothing_left {
        output::show(output, &applied, |applied| {
            table::resources(applied.resources.iter().flatten(), Timestamp::now()).render()
        })?;
    }
    if output == Output::Table && result.is_ok() {
        say!("site {} is as declared", applied.site);
    }
    result
}

/// Tells what does not happen until it is confirmed.
fn held(changes: &[Change]) {
    for change in changes {
        if let Some(hold) = &change.hold {
            say!("held: {}  {}: {}", change.region, change.name, plain(&hold.message));
        }
    }
}

/// A table of changes; nothing where there is none.
pub fn changes(changes: &[Change]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["REGION", "NAME", "TYPE", "ACTION", "GENERATION"]);
    for change in changes {
        let action = match &change.hold {
            Some(_) => format!("{} (held)", change.action),
            None => change.action.to_owned(),
        };
        table.row(vec![
            change.region.as_str().into(),
            change.name.as_str().into(),
            change.r#type.as_str().into(),
            action.into(),
            change.generation.to_string().into(),
        ]);
    }
    table.render()
}

/// `site default, revision 3: 2 created, 1 unchanged`.
pub fn summary(applied: &Applied) -> String {
    let Applied { site, revision, changes, .. } = applied;
    let counts = counts(changes);
    let counts = if counts.is_empty() { "nothing to do".to_owned() } else { counts };
    format!("site {site}, revision {revision}: {counts}")
}

/// `2 created, 3 deleted (1 held)`; empty where nothing changed.
pub fn counts(changes: &[Change]) -> String {
    let count = |action: &str| {
        let all = changes.iter().filter(|change| change.action == action);
        let held = all.clone().filter(|change| change.hold.is_some()).count();
        match (all.count(), held) {
            (0, _) => None,
            (all, 0) => Some(format!("{all} {action}")),
            (all, held) => Some(format!("{all} {action} ({held} held)")),
        }
    };
    let actions = ["created", "updated", "replaced", "deleted", "unchanged"];
    actions.into_iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::Hold;

    #[test]
    fn changes_are_counted_by_what_became_of_them() {
        let change = |action, held: bool| Change {
            region: "aws:r".into(),
            name: "a".into(),
            r#type: "redis".into(),
            uid: "u".into(),
            action,
            generation: 1,
            hold: held.then(|| Hold { kind: "Deletion".into(), message: String::new(), revision: 1 }),
        };
        let all = [change("deleted", true), change("created", false), change("deleted", false)];
        assert_eq!(counts(&all), "1 created, 2 deleted (1 held)");
        assert_eq!(counts(&[]), "");
        assert!(changes(&all).contains("deleted (held)"));
    }
}
