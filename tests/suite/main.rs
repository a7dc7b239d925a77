//! End-to-end tests: the real `engate` binary, real databases, receivers that record what reaches them.
//!
//! Who acts here: [`harness::run`] starts one engine per test on data of its own and asks, when the test is
//! over, whether anything went wrong that the test did not look at; `Api` speaks to the engine as any client
//! would; `Receiver` plays the partners. Test files mirror what they are about. Tests whose name begins with a
//! seed's id (`o09_...`) show that row of the seeds.
//!
//! Environment: `ENGATE_TEST_POSTGRES` names a server where databases can be made, `ENGATE_TEST_REQUIRE=postgres,npm`
//! makes what is missing of these (`mariadb` too) an error, `ENGATE_TEST_SEED` repeats a random run, `ENGATE_TEST_LONG=1` lengthens the
//! kill tests and the replays of history.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing; the harness is part of the tests"
)]

mod accept;
mod actions;
mod audit;
mod audit_routes;
mod auth;
mod backup;
mod bad_input;
mod bundled;
mod canary;
mod cloud_events;
mod cluster;
mod command_line;
mod compiling;
mod conditional;
mod contract;
mod controls;
mod data_storage;
mod declared;
mod declared_whole;
mod developing;
mod edge;
mod event_schemas;
mod exports;
mod exposure;
mod fan_out;
mod feeds;
mod gsan;
mod harness;
mod history;
mod hostile;
mod idempotency;
mod inbound;
mod jobs;
mod kill;
mod languages;
mod lifecycle;
mod mtls;
mod ordering;
mod pages;
mod payloads;
mod plugin_limits;
mod receivers;
mod recoveries;
mod redaction;
mod registration;
mod replays;
mod retention;
mod retries;
mod roles;
mod rotation;
mod routes;
mod sample_receivers;
mod signing;
mod sintegre;
mod slow_partners;
mod smartlink;
mod sync_faults;
mod sync_feeds;
mod sync_jobs;
mod sync_kills;
mod sync_progress;
mod sync_world;
mod tenants;
mod tidy;
mod tls;
mod tokens;
mod versions;
mod wizard;
