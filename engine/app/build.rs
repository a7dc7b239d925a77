//! Says what is embedded, so that a change of it is seen.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../plugins/templates");
    println!("cargo:rerun-if-changed=../../plugins/sdk/src");
}
