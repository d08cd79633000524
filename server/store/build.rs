//! `sqlx::migrate!` puts the migrations into the crate, but cargo does not see a new file by itself.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
