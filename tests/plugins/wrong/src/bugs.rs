//! The bugs, and which of them this component has.
//!
//! The choice is a text in the component's data: whoever overwrites it with another name of the same length has another
//! plugin, without a build. So two dozen wrong plugins cost one compilation.

/// Where the choice is: these bytes, then the name, then dots up to the end.
pub const MARK: &str = "senren-wrong-plugin:";
/// Length of all of it.
pub const LENGTH: usize = 48;

/// Each bug and what it is, in the order of the checks that catch them.
pub const BUGS: [(&str, &str); 25] = [
    ("plural", "the plural is no word that Kubernetes takes"),
    ("effect", "the schema has an effect that the contract does not know"),
    ("example", "the example is not valid under the schema"),
    ("refused-example", "`admit` refuses the example"),
    ("counts", "it counts its calls, in a static"),
    ("appends", "`admit` appends to what it is given, each time"),
    ("any-field", "the schema preserves unknown fields, so that a typo goes unnoticed"),
    ("no-pointer", "a violation's path is a name, no JSON Pointer"),
    ("any-label", "any text is accepted, and goes into a label"),
    ("update-of-nothing", "`diff` of a spec with itself is an update"),
    ("light", "`diff` tells a recreation as an update that nobody notices"),
    ("other-name", "a child is not named after the resource"),
    ("never-ready", "its status is never ready"),
    ("restless", "a child is now one thing, now another"),
    ("minutes", "its status has the minute in it"),
    ("first", "its status depends on which object is observed first"),
    ("labels", "its status depends on labels that others put on its objects"),
    ("always-ready", "it says ready whatever its pods do"),
    ("gives-up", "once ready, it fails for good when its StatefulSet is gone"),
    ("no-scaling", "with more pods than it began with it is never ready"),
    ("restarts", "a field that is told as in-place is in the pod template"),
    ("high-water", "it remembers, in its own ConfigMap, the most pods that there ever were"),
    ("setting", "with an operator's setting it is never ready"),
    ("stays", "while it is deleted it goes on wanting its ConfigMap"),
    ("went-back", "it takes an older view of its StatefulSet for one that was restored, for good"),
];

/// One more, told apart because the list above is in the order of the checks and this one is the last.
pub const HALF_MADE: &str = "half-made";

static CHOICE: [u8; LENGTH] = *b"senren-wrong-plugin:none........................";

/// The bug that this component has; `none` where it has none.
pub fn chosen() -> &'static str {
    // Read as if it could be anything, because after the build it can.
    let choice: &'static [u8] = std::hint::black_box(&CHOICE);
    let name = choice.get(MARK.len()..).and_then(|name| std::str::from_utf8(name).ok());
    name.unwrap_or_default().trim_end_matches('.')
}

/// True where this component has that bug.
pub fn has(bug: &str) -> bool {
    chosen() == bug
}

/// The component with another bug. `None` where `component` has no place for it.
pub fn with(component: &[u8], bug: &str) -> Option<Vec<u8>> {
    let at = component.windows(MARK.len()).position(|bytes| bytes == MARK.as_bytes())?;
    let choice = format!("{MARK}{bug:.<width$}", width = LENGTH - MARK.len());
    let mut component = component.to_vec();
    component.get_mut(at..at + LENGTH)?.copy_from_slice(choice.as_bytes());
    Some(component)
}
