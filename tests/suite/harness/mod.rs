//! What every test stands on. [`run`] refuses to pass quietly: at the end the engine must be alive, without a
//! panic in its log, with no delivery lost from view, and no partner may have got a request it was not
//! programmed for.

pub(crate) mod api;
pub(crate) mod app;
#[allow(dead_code, reason = "shared with egress' own tests, which use more of it")]
#[path = "../../../engine/egress/tests/egress/asking.rs"]
pub(crate) mod asking;
mod compiled;
pub(crate) mod database;
pub(crate) mod engine;
#[allow(dead_code, unreachable_pub, reason = "shared with the host's own tests, which use more of it")]
#[path = "../../../engine/host/tests/host/guests.rs"]
pub(crate) mod guests;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod source;
pub(crate) mod wait;

use std::{future::Future, io::Write as _, panic::AssertUnwindSafe, panic::resume_unwind, sync::Once};

use futures_util::FutureExt as _;

pub(crate) use self::{
    api::Api,
    app::App,
    database::{Backend, Database},
    engine::{Engine, Setup},
    receiver::{Received, Receiver, Reply},
    wait::{PATIENCE, eventually, within},
};

/// Runs `test` against an engine on a new SQLite database.
pub(crate) fn run(test: impl AsyncFnOnce(&mut App)) {
    run_with(Setup::new(), test);
}

/// Runs `test` against an engine with settings of its own.
pub(crate) fn run_with(setup: Setup, test: impl AsyncFnOnce(&mut App)) {
    run_on(Backend::Sqlite, setup, test);
}

/// Runs `test` on one kind of database; without PostgreSQL says that it was skipped.
pub(crate) fn run_on(backend: Backend, setup: Setup, test: impl AsyncFnOnce(&mut App)) {
    block_on(async {
        let Some(database) = Database::create(backend).await else { return skipped("postgres") };
        let mut app = App::start(&database, setup).await;
        let outcome = AssertUnwindSafe(async {
            test(&mut app).await;
            app.check().await;
        });
        let outcome = outcome.catch_unwind().await;
        if outcome.is_err() {
            app.dump();
        }
        app.stop().await;
        drop(app);
        database.remove().await;
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

/// One thread per test is enough: the engine has processes of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Says, past the capture of test output, that something was not tested.
pub(crate) fn skipped(need: &str) {
    let required = std::env::var("ENGATE_TEST_REQUIRE").unwrap_or_default();
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    assert!(!required.split(',').any(|one| one.trim() == need), "{name} needs {need}, and it is not there");
    let _ = writeln!(std::io::stderr(), "{name}: skipped: needs {need}");
}
