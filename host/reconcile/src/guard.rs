//! (follows)
/// One thing that the guard refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal { object: String, problem: String }
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}: {}", self.object, self.problem) }
}
