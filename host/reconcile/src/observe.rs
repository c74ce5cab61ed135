//! (follows)
/// What was observed of one resource.
#[derive(Default)]
pub struct Observed {}
