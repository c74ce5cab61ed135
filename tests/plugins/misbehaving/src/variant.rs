//! Other versions of this plugin, without building it again: a test writes another name over the one in the component.

/// Eight letters behind the colon, filled up with dashes.
static VARIANT: &str = "senren-misbehaving-variant:original";

/// What a variant says of itself.
pub struct Variant {
    pub name: &'static str,
    pub version: &'static str,
    pub type_name: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub largest: i64,
}

/// True in the variant of this name.
pub fn is(name: &str) -> bool {
    // The compiler must not know what the string is.
    let variant = std::hint::black_box(VARIANT).rsplit(':').next().unwrap_or_default();
    variant.trim_end_matches('-') == name
}

/// This one. Those that are not told here do something else differently.
pub fn this() -> Variant {
    let original = Variant {
        name: "misbehaving",
        version: env!("CARGO_PKG_VERSION"),
        type_name: "misbehaving",
        kind: "MisbehavingDatabase",
        plural: "misbehavingdatabases",
        largest: 1_000_000,
    };
    let newer = Variant { version: "0.2.0", ..original };
    match () {
        () if is("original") => original,
        // Specs that the original admits are too large for it.
        () if is("narrower") => Variant { largest: 9, ..newer },
        // The same type, kept in another kind of custom resource.
        () if is("kind") => Variant { kind: "OtherDatabase", plural: "otherdatabases", ..newer },
        // The same type, of a plugin by another name.
        () if is("renamed") => Variant { name: "renamed", ..newer },
        // Another plugin altogether.
        () if is("second") => Variant {
            name: "second",
            type_name: "second",
            kind: "SecondDatabase",
            plural: "seconddatabases",
            ..newer
        },
        () => newer,
    }
}
