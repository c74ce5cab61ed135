//! How the fields of a kind merge and who can own them.
use crate::kinds::GroupResource;
/// Shape
#[derive(Debug)]
pub enum Shape { /// any
 Any }
pub(crate) fn builtin(_: &GroupResource) -> &'static Shape { &Shape::Any }
