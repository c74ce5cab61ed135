//! Custom resource definitions.
/// What a kind made by a CustomResourceDefinition adds to the built-in ones.
#[derive(Debug)]
pub struct Custom {
    /// Name of the definition.
    pub definition: String,
}
