//! `senren plan`, and the plan that other commands show before they ask: what would become of each resource, and
//! what that would mean for what runs. Making a plan changes nothing.

use std::collections::BTreeMap;

use senren_api::v1::PlanStateRequest;

use crate::{
    cli::PlanArgs,
    client::Client,
    document::Document,
    exit::Failure,
    output::{self, Stream, plain},
    paint::Paint,
    views::{Change, FieldChange, Plan, PlannedChange},
};

/// Longer values are cut; `-o json` has them whole.
const MAX_VALUE: usize = 60;

/// Shows the plan for a file, or for a rollback.
pub async fn run(args: PlanArgs) -> Result<(), Failure> {
    let mut document = args.file.as_deref().map(Document::read).transpose()?;
    if let Some(document) = &mut document {
        document.settle_site(args.scope.told())?;
    }
    let client = Client::open(&args.connection).await?;
    let plan = match (&document, args.rollback) {
        (Some(document), _) => of_document(&client, document, args.confirm_data_loss).await?,
        (None, revision) => of_rollback(&client, args.scope.name(), revision, args.confirm_data_loss).await?,
    };
    output::warnings(&plan.warnings);
    output::show(args.output, &plan, |plan| plan.text(output::colour(Stream::Out)))
}

/// The plan for what a file declares.
pub async fn of_document(
    client: &Client,
    document: &Document,
    confirm_data_loss: bool,
) -> Result<Plan, Failure> {
    let request = PlanStateRequest {
        site: document.request.site.clone(),
        databases: document.request.databases.clone(),
        rollback_to: None,
        confirm_data_loss,
    };
    let call = client.call_about(document, request, async |mut grpc, request| grpc.plan_state(request).await);
    Ok(call.await?.into())
}

/// The plan for going back to a revision.
pub async fn of_rollback(
    client: &Client,
    site: &str,
    revision: Option<u64>,
    confirm_data_loss: bool,
) -> Result<Plan, Failure> {
    let request = PlanStateRequest {
        site: site.to_owned(),
        rollback_to: revision,
        confirm_data_loss,
        ..Default::default()
    };
    let call = client.call(request, async |mut grpc, request| grpc.plan_state(request).await);
    Ok(call.await?.into())
}

impl Plan {
    /// Whether anything would change.
    pub fn changes_anything(&self) -> bool {
        self.changes.iter().any(|planned| planned.change.action != "unchanged")
    }

    /// For people: what changes, a block per database, and the sum of it.
    pub fn text(&self, colour: bool) -> String {
        let blocks = groups(&self.changes).into_iter().map(|group| group.text(colour));
        format!("{}{}", blocks.collect::<String>(), self.sum())
    }

    /// `Site default, revision 3: 1 to create, 2 to delete (1 held), 4 unchanged.`
    fn sum(&self) -> String {
        let mut parts = Vec::new();
        for (action, verb) in VERBS {
            let of = |held: bool| {
                let matches = |change: &&Change| change.action == action && change.hold.is_some() == held;
                self.changes.iter().map(|planned| &planned.change).filter(matches).count()
            };
            match (of(false), of(true)) {
                (0, 0) => {}
                (now, 0) => parts.push(format!("{now} to {verb}")),
                (now, held) => parts.push(format!("{} to {verb} ({held} held)", now + held)),
            }
        }
        let unchanged = self.changes.iter().filter(|planned| planned.change.action == "unchanged").count();
        if parts.is_empty() {
            parts.push("nothing would change".into());
        }
        if unchanged > 0 {
            parts.push(format!("{unchanged} unchanged"));
        }
        format!("Site {}, revision {}: {}.", self.site, self.revision, parts.join(", "))
    }
}

/// What is to be done, in the order in which it is counted.
const VERBS: [(&str, &str); 4] =
    [("created", "create"), ("updated", "update"), ("replaced", "replace"), ("deleted", "delete")];

/// The same change in several regions.
struct Group<'a> {
    planned: &'a PlannedChange,
    regions: Vec<&'a str>,
}

fn groups(changes: &[PlannedChange]) -> Vec<Group<'_>> {
    let shown =
        |planned: &&PlannedChange| planned.change.action != "unchanged" || planned.change.hold.is_some();
    // By name: what is alike is then among few, also where there are ten thousand.
    let mut by_name: BTreeMap<&str, Vec<Group<'_>>> = BTreeMap::new();
    for planned in changes.iter().filter(shown) {
        let groups = by_name.entry(&planned.change.name).or_default();
        match groups.iter_mut().find(|group| group.has(planned)) {
            Some(group) => group.regions.push(&planned.change.region),
            None => groups.push(Group { planned, regions: vec![&planned.change.region] }),
        }
    }
    by_name.into_values().flatten().collect()
}

impl Group<'_> {
    /// Whether `other`, which has the same name, differs in nothing but its region.
    fn has(&self, other: &PlannedChange) -> bool {
        let PlannedChange { change, fields, disruptive, data_loss, summary } = self.planned;
        (&change.r#type, change.action, &change.hold)
            == (&other.change.r#type, other.change.action, &other.change.hold)
            && (disruptive, data_loss) == (&other.disruptive, &other.data_loss)
            && (fields, summary) == (&other.fields, &other.summary)
    }

    fn text(&self, colour: bool) -> String {
        let PlannedChange { change, fields, .. } = self.planned;
        let (sign, paint) = match change.action {
            "created" => ("+", Paint::Good),
            "updated" => ("~", Paint::Moving),
            "replaced" => ("±", Paint::Bad),
            "deleted" => ("-", Paint::Bad),
            // An earlier change of it is held.
            "unchanged" => ("=", Paint::Plain),
            _ => ("?", Paint::Bad),
        };
        let verb = VERBS.iter().find(|(action, _)| *action == change.action).map_or(change.action, |v| v.1);
        let head = format!("{sign} {verb} {} ({})", change.name, change.r#type);
        let mut text = format!("{} in {}\n", paint.on(&head, colour), self.regions.join(", "));
        for field in fields {
            text += &format!("    {}\n", field.text(colour));
        }
        for (line, paint) in self.meaning() {
            text += &format!("    {}\n", paint.on(&line, colour));
        }
        text + "\n"
    }

    /// What it means for what runs, where the fields do not say it.
    fn meaning(&self) -> Vec<(String, Paint)> {
        let PlannedChange { change, disruptive, data_loss, summary, .. } = self.planned;
        let mut lines = Vec::new();
        if change.action == "replaced" {
            lines.push((plain(summary).into_owned(), Paint::Moving));
        }
        match (data_loss, disruptive) {
            (true, _) => lines.push(("its data will be lost".into(), Paint::Bad)),
            (false, true) => lines.push(("its clients will notice".into(), Paint::Moving)),
            (false, false) => {}
        }
        if let Some(hold) = &change.hold {
            lines.push((format!("held: {}", plain(&hold.message)), Paint::Moving));
        }
        lines
    }
}

impl FieldChange {
    /// `memory_mb: 64 → 96 (rolling-restart)`.
    fn text(&self, colour: bool) -> String {
        let value = |value: &serde_json::Value| {
            let text = value.to_string();
            match text.char_indices().nth(MAX_VALUE) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        };
        let values = match (&self.before, &self.after) {
            (Some(before), Some(after)) => format!("{} → {}", value(before), value(after)),
            (Some(before), None) => format!("{} → (none)", value(before)),
            (None, Some(after)) => value(after),
            (None, None) => "(none)".into(),
        };
        let effect = match self.effect.as_str() {
            "" => String::new(),
            "in-place" => " (in-place)".into(),
            other => Paint::Moving.on(&format!(" ({other})"), colour),
        };
        format!("{}: {values}{effect}", self.path.trim_start_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::views::Hold;

    fn planned(action: &'static str, region: &str, name: &str) -> PlannedChange {
        PlannedChange {
            change: Change {
                region: region.into(),
                name: name.into(),
                r#type: "redis".into(),
                uid: String::new(),
                action,
                generation: 3,
                hold: None,
            },
            fields: Vec::new(),
            disruptive: false,
            data_loss: false,
            summary: String::new(),
        }
    }

    fn plan(changes: Vec<PlannedChange>) -> Plan {
        Plan { site: "default".into(), revision: 3, changes, warnings: Vec::new() }
    }

    #[test]
    fn a_plan_names_every_change_and_what_it_means() {
        let field = |path: &str, before, after, effect: &str| FieldChange {
            path: path.into(),
            before,
            after,
            effect: effect.into(),
        };
        let update = |region| PlannedChange {
            fields: vec![
                field("/memory_mb", Some(json!(64)), Some(json!(96)), "in-place"),
                field("/persistence/mode", Some(json!("none")), None, "rolling-restart"),
            ],
            disruptive: true,
            ..planned("updated", region, "cache")
        };
        let mut delete =
            PlannedChange { data_loss: true, disruptive: true, ..planned("deleted", "aws:a", "b") };
        delete.change.hold =
            Some(Hold { kind: "Deletion".into(), message: "all would go".into(), revision: 4 });
        let create = PlannedChange {
            fields: vec![field("/memory_mb", None, Some(json!(16)), "")],
            ..planned("created", "aws:a", "x")
        };
        let replace = PlannedChange {
            summary: "type redis → redis-cluster".into(),
            ..planned("replaced", "aws:a", "z")
        };
        let unchanged = planned("unchanged", "aws:a", "y");
        let mut kept = planned("unchanged", "aws:b", "y");
        kept.change.hold = delete.change.hold.clone();
        let changes = vec![update("aws:a"), create, update("gcp:b"), delete, replace, unchanged, kept];
        let text = plan(changes).text(false);
        let expected = "\
- delete b (redis) in aws:a
    its data will be lost
    held: all would go

~ update cache (redis) in aws:a, gcp:b
    memory_mb: 64 → 96 (in-place)
    persistence/mode: \"none\" → (none) (rolling-restart)
    its clients will notice

+ create x (redis) in aws:a
    memory_mb: 16

= unchanged y (redis) in aws:b
    held: all would go

± replace z (redis) in aws:a
    type redis → redis-cluster

Site default, revision 3: 1 to create, 2 to update, 1 to replace, 1 to delete (1 held), 2 unchanged.";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_plan_without_changes_says_so() {
        let nothing = plan(vec![planned("unchanged", "aws:a", "y")]);
        assert_eq!(nothing.text(true), "Site default, revision 3: nothing would change, 1 unchanged.");
        assert!(!nothing.changes_anything());
        assert!(plan(vec![planned("created", "aws:a", "y")]).changes_anything());
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let plan = plan(vec![planned("created", "aws:a", "y")]);
        assert!(plan.text(true).starts_with("\x1b[32m+ create y (redis)\x1b[0m in"));
        assert!(!plan.text(false).contains('\x1b'));
    }
}
