//! How far a first load is, as the API and the command line tell it.

use axum::http::Method;
use engate_model::Timestamp;
use serde_json::{Value, json};

use crate::{
    harness::{api::id, eventually},
    sync_world::with_world,
};

/// Rows of the table, in pages of 50.
const ROWS: u32 = 3_000;

#[test]
fn a_first_load_tells_how_far_it_is_and_when_it_will_be_through() {
    with_world(ROWS, async |app, world| {
        let slow = json!({"match": {"path": "*/staging/intake/*"}, "action": {"do": "delay", "hold_ms": 150}});
        world.stub(Method::POST, "faults", slow).await;
        let job = world.job(app).await;
        let path = format!("/v1/jobs/{}", id(&job));
        let pass = async || -> Value {
            let tracks = app.api.get(&format!("{path}/checkpoints")).await.expect(200);
            tracks["items"][0]["pass"].clone()
        };
        let early = eventually("it says when it will be through", async || {
            let pass = pass().await;
            if pass["progress"]["eta"].is_string() { Ok(pass) } else { Err(pass.to_string()) }
        })
        .await;
        let progress = &early["progress"];
        assert_eq!((&early["kind"], &progress["expected"]), (&json!("initial"), &json!(ROWS)), "{early}");
        assert_eq!(progress["expected_is_estimate"], false, "SQLite counts");
        let (rows, speed) = (progress["rows"].as_u64().unwrap(), progress["rows_per_second"].as_f64().unwrap());
        assert!(rows > 0 && rows < u64::from(ROWS) && rows % 50 == 0 && speed > 1.0, "{early}");
        // A page takes 150 ms at least, so 50 rows do.
        assert!(speed < 50.0 / 0.15, "{early}");
        let eta = Timestamp::parse(progress["eta"].as_str().unwrap()).unwrap();
        let begun = Timestamp::parse(early["started_at"].as_str().unwrap()).unwrap();
        let least = (u64::from(ROWS) / 50) as f64 * 0.15;
        let foretold = eta.since(begun).as_secs_f64();
        assert!(foretold > least * 0.9 && foretold < 300.0, "{foretold} s, and it takes {least} s at least");

        app.api.post(&format!("{path}/pause"), &json!({"reason": "to see it stand still"})).await.expect(200);
        let still = eventually("nobody is at work", async || {
            let pass = pass().await;
            let at_rest = pass["progress"]["eta"].is_null() && pass["progress"]["rows_per_second"].is_null();
            if at_rest { Ok(pass) } else { Err(pass.to_string()) }
        })
        .await;
        assert!(still["progress"]["rows"].as_u64().unwrap() >= rows, "what is done stays done: {still}");
        assert_eq!(still["progress"]["expected"], ROWS);

        app.api.post(&format!("{path}/resume"), &json!(null)).await.expect(200);
        eventually("it goes on", async || {
            let pass = pass().await;
            if pass["progress"]["eta"].is_string() { Ok(()) } else { Err(pass.to_string()) }
        })
        .await;
        let watched = app.engine.client(&["job", "watch", "carol"]).await;
        let text = String::from_utf8_lossy(&watched.stdout).into_owned();
        assert!(watched.status.success(), "{text}{}", String::from_utf8_lossy(&watched.stderr));
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("customers: ") && first.contains(" of 3,000 rows, "), "{text}");
        assert!(first.contains(" rows/s, through in "), "{text}");
        assert!(text.contains("customers: loaded\n"), "{text}");
        assert!(text.ends_with("All streams are loaded; the job goes on with what changes.\n"), "{text}");
        world.equal().await;
        let after = pass().await;
        assert!(after.is_null() || after["progress"].is_null(), "a delta has no end that is known: {after}");
        let json = app.engine.client(&["--json", "job", "watch", "carol"]).await;
        let told: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(told["items"][0]["phase"], "delta", "{told}");
    });
}
