//! What waits for a person: deletions that were too many at once, replacements that lose data.

use sqlx::{Row as _, postgres::PgRow};

use super::unsigned;

/// What a region says of a resource that it keeps as it is because the change would lose data.
pub(crate) const REPLACEMENT_HELD: &str = "ReplacementHeld";

/// What would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldKind {
    /// It would be deleted. It is published as it was meanwhile.
    Deletion,
    /// It would be deleted and made anew, empty. Its region has the last word on whether that is so, and keeps it
    /// meanwhile.
    Replacement,
}

impl HoldKind {
    /// As in the API, and in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deletion => "Deletion",
            Self::Replacement => "Replacement",
        }
    }
}

/// A change of a resource that waits until somebody confirms it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What would happen.
    pub kind: HoldKind,
    /// For people.
    pub message: String,
    /// Of the apply that asked for it.
    pub revision: u64,
}

/// What a region last said of a resource, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub generation: u64,
    pub reason: &'a str,
    pub message: &'a str,
}

/// What is held of a resource at `generation`. `expected` is what the control plane holds, or expects its region to
/// hold; once the region has spoken of that generation, its word counts.
pub(crate) fn in_force(
    expected: Option<&Hold>,
    generation: u64,
    data_loss_confirmed: bool,
    said: Option<Said<'_>>,
) -> Option<Hold> {
    let said = said.filter(|said| said.generation == generation);
    match (expected, said) {
        (Some(hold), _) if hold.kind == HoldKind::Deletion => Some(hold.clone()),
        _ if data_loss_confirmed => None,
        (_, Some(said)) if said.reason == REPLACEMENT_HELD => {
            Some(Hold { kind: HoldKind::Replacement, message: said.message.to_owned(), revision: generation })
        }
        (_, Some(_)) => None,
        (expected, None) => expected.cloned(),
    }
}

/// Reads the columns of a resource.
pub(crate) fn of_row(row: &PgRow) -> sqlx::Result<Option<Hold>> {
    let kind = match row.try_get::<Option<&str>, _>("hold_kind")? {
        None => return Ok(None),
        Some("Deletion") => HoldKind::Deletion,
        Some(_) => HoldKind::Replacement,
    };
    let revision = unsigned(row.try_get("hold_revision")?);
    Ok(Some(Hold { kind, message: row.try_get("hold_message")?, revision }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELETION: HoldKind = HoldKind::Deletion;
    const REPLACEMENT: HoldKind = HoldKind::Replacement;

    /// At generation 3.
    fn check(expected: Option<HoldKind>, confirmed: bool, said: Option<(u64, &str)>, held: Option<HoldKind>) {
        let expected = expected.map(|kind| Hold { kind, message: String::new(), revision: 3 });
        let said = said.map(|(generation, reason)| Said { generation, reason, message: "it would" });
        let found = in_force(expected.as_ref(), 3, confirmed, said);
        assert_eq!(found.map(|hold| hold.kind), held, "{expected:?} {confirmed} {said:?}");
    }

    #[test]
    fn the_control_plane_holds_deletions_and_the_region_replacements() {
        check(None, false, None, None);
        check(Some(DELETION), false, Some((3, "")), Some(DELETION));
        check(Some(REPLACEMENT), false, None, Some(REPLACEMENT));
        check(Some(REPLACEMENT), false, Some((2, "")), Some(REPLACEMENT));
        check(Some(REPLACEMENT), false, Some((3, "")), None);
        check(Some(REPLACEMENT), false, Some((3, REPLACEMENT_HELD)), Some(REPLACEMENT));
        check(None, false, Some((3, REPLACEMENT_HELD)), Some(REPLACEMENT));
        check(None, false, Some((2, REPLACEMENT_HELD)), None);
        check(None, true, Some((3, REPLACEMENT_HELD)), None);
    }
}
