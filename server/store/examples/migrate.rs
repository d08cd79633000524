//! Makes a database with both schemas, for the query macros to check themselves against.
//!
//! The macros know one `DATABASE_URL`, the product has two database files; their tables have
//! different names, so that one scratch file can hold all. After a change of a query or of the
//! schema, from the root of the repository:
//!
//! ```sh
//! cargo run --package flukedeploy-store --no-default-features --example migrate -- "$scratch/schema.db"
//! touch server/store/src/lib.rs
//! DATABASE_URL="sqlite:$scratch/schema.db" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$scratch/sqlx" \
//!     cargo check --package flukedeploy-store --all-targets
//! ```
//!
//! and `$scratch/sqlx/` (which must exist before) holds what belongs into `.sqlx/`.
//! `--no-default-features` leaves the queries out, so that this builds while they do not.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: migrate <new database file>");
        return ExitCode::from(2);
    };
    match flukedeploy_store::schema::create_for_macros(path.as_ref()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
