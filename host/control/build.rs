//! Migrations are embedded by a macro; cargo must know that they are source.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
