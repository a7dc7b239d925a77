//! The stub as its clients meet it: what it takes, what it refuses, and that what it took outlives it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use std::{io::Write as _, path::Path, time::Duration};

use engate_carol_stub::{Options, Stub};
use flate2::{Compression, write::GzEncoder};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

const TABLE: &str = "protheus_sa1";

struct Caller {
    http: Client,
    stub: Stub,
}

async fn start(folder: &Path) -> Caller {
    start_with(Options { token_ttl_s: 2, message_hold_ms: 200, ..Options::new(folder.to_owned()) }).await
}

async fn start_with(options: Options) -> Caller {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    Caller { http, stub: Stub::start(options).await.unwrap() }
}

impl Caller {
    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let ready = self.stub.ready();
        self.http
            .request(method, format!("{}{path}", ready.address))
            .header("X-Auth-ConnectorId", &ready.connector_id)
            .header("X-Auth-Key", &ready.connector_key)
    }

    async fn schema(&self) -> Response {
        let body = json!({
            "mdmStagingType": TABLE, "mdmFlexible": false, "mdmExportData": false,
            "mdmCrosswalkTemplate": {"mdmCrossreference": {TABLE: ["A1_COD"]}},
            "mdmStagingMapping": {"properties": {
                "A1_COD": {"type": "string"}, "A1_NOME": {"type": "string"}, "A1_LC": {"type": "double"},
            }},
        });
        self.call(Method::POST, &format!("/api/v3/staging/tables/{TABLE}/schema")).json(&body).send().await.unwrap()
    }

    fn intake(&self, batch: &str, sequence: u32) -> RequestBuilder {
        let query = format!("returnData=false&batchId={batch}&batchIdSequence={sequence}");
        self.call(Method::POST, &format!("/api/v3/staging/intake/{TABLE}?{query}"))
            .header("Content-Type", "application/json")
            .header("Content-Encoding", "gzip")
    }

    async fn send(&self, batch: &str, sequence: u32, body: &str) -> (u16, String) {
        refused(self.intake(batch, sequence).body(gzip(body)).send().await.unwrap()).await
    }

    async fn summary(&self, batch: &str, records: u32, requests: u32) -> (u16, String) {
        let body = json!({"totalRecords": records, "totalRequests": requests, "timestampStart": 1, "timestampEnd": 2});
        let call = self.call(Method::POST, &format!("/api/v3/staging/batch/{batch}/summary"));
        refused(call.json(&body).send().await.unwrap()).await
    }

    async fn ask(&self, path: &str) -> Value {
        self.call(Method::GET, &format!("/_stub/{path}")).send().await.unwrap().json().await.unwrap()
    }

    async fn order(&self, fault: Value) {
        let answer = self.call(Method::POST, "/_stub/faults").json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    async fn token(&self, secret: &str) -> Result<String, (u16, Value)> {
        let form = format!("grant_type=client_credentials&client_id=protheus&client_secret={secret}");
        let call = self.http.post(format!("{}/totvs.rac/connect/token", self.stub.address()));
        let call = call.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        body["access_token"].as_str().map(str::to_owned).ok_or((status, body))
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The status, and which field is to blame.
async fn refused(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    (status, body["possibleResponsibleField"].as_str().unwrap_or_default().to_owned())
}

fn ok() -> (u16, String) {
    (200, String::new())
}

fn bad(field: &str) -> (u16, String) {
    (400, field.to_owned())
}

#[tokio::test]
async fn rows_are_kept_by_their_key_and_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    assert_eq!(caller.schema().await.status(), 200);
    let first = r#"[{"A1_COD":"1","A1_NOME":"Ana","A1_LC":10.50},{"A1_COD":"2","A1_NOME":"Bia"}]"#;
    assert_eq!(caller.send("b", 1, first).await, ok());
    assert_eq!(caller.send("b", 2, r#"[{"A1_COD":"2","A1_NOME":"Bea","mdmDeleted":true}]"#).await, ok());
    assert_eq!(caller.summary("b", 3, 2).await, ok());
    caller.stub.stop().await;

    let caller = start(folder.path()).await;
    let rows = caller.call(Method::GET, &format!("/_stub/tables/{TABLE}/rows")).send().await.unwrap();
    let text = rows.text().await.unwrap();
    assert!(text.contains("10.50"), "digits stay as they were spelled: {text}");
    let rows: Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<_> = rows["items"].as_array().unwrap().iter().map(|row| (&row["key"], &row["deleted"])).collect();
    assert_eq!(rows, [(&json!(r#"["1"]"#), &json!(false)), (&json!(r#"["2"]"#), &json!(true))]);
    let tables = caller.ask("tables").await;
    assert_eq!(tables["items"][0]["live"], 1);
    assert_eq!(tables["items"][0]["writes"], 3);
}

#[tokio::test]
async fn a_batch_has_numbers_without_a_gap_and_true_counts() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    caller.schema().await;
    let (one, two) = (r#"[{"A1_COD":"1"}]"#, r#"[{"A1_COD":"2"},{"A1_COD":"3"}]"#);
    assert_eq!(caller.summary("b", 0, 0).await, (404, "batchId".to_owned()), "a summary before all");
    assert_eq!(caller.send("b", 2, two).await, bad("batchIdSequence"), "begins with 1");
    assert_eq!(caller.send("b", 1, one).await, ok());
    assert_eq!(caller.send("b", 3, two).await, bad("batchIdSequence"), "a gap");
    assert_eq!(caller.send("b", 1, two).await, bad("batchIdSequence"), "a repeat with another body");
    assert_eq!(caller.send("b", 1, one).await, ok(), "the same again");
    assert_eq!(caller.send("b", 2, two).await, ok());
    assert_eq!(caller.summary("b", 2, 2).await, bad("totalRecords"));
    assert_eq!(caller.summary("b", 3, 3).await, bad("totalRequests"));
    assert_eq!(caller.summary("b", 3, 2).await, ok());
    assert_eq!(caller.summary("b", 3, 2).await, ok(), "the same again");
    assert_eq!(caller.send("b", 3, one).await, bad("batchId"), "after the summary");
    let counts = caller.ask("counts").await;
    let pages = json!({"requests": 2, "records": 3, "repeated_requests": 1, "repeated_records": 1});
    assert_eq!(counts["pages"], pages);
    assert_eq!(caller.ask("batches").await["items"][0]["closed"], true);
}

#[tokio::test]
async fn what_the_intake_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    assert_eq!(caller.send("b", 1, r#"[{"A1_COD":"1"}]"#).await.0, 404, "an unknown table");
    caller.schema().await;
    assert_eq!(caller.schema().await.status(), 400, "a table is created once");
    for (body, field) in [
        (r#"[{"A1_NOME":"no key"}]"#, "A1_COD"),
        (r#"[{"A1_COD":null}]"#, "A1_COD"),
        (r#"[{"A1_COD":1}]"#, "A1_COD"),
        (r#"[{"A1_COD":"1","A1_LC":"ten"}]"#, "A1_LC"),
        (r#"[{"A1_COD":"1","A1_NEW":"x"}]"#, "A1_NEW"),
        (r#"[{"A1_COD":"1","A1_NOME":{"first":"x"}}]"#, "A1_NOME"),
        (r#"{"A1_COD":"1"}"#, ""),
        ("[]", ""),
    ] {
        assert_eq!(caller.send("b", 1, body).await, bad(field), "{body}");
    }
    let plain = caller.intake("b", 1).body(r#"[{"A1_COD":"1"}]"#).send().await.unwrap();
    assert_eq!(plain.status(), 400, "said to be gzip and is not");
    let url = format!("/api/v3/staging/intake/{TABLE}?batchId=b&batchIdSequence=1");
    let plain = caller.call(Method::POST, &url).json(&json!([{"A1_COD": "1"}])).send().await.unwrap();
    assert_eq!(plain.status(), 415, "not gzip");
    let large = format!(r#"[{{"A1_COD":"1","A1_NOME":"{}"}}]"#, "x".repeat(10_000_000));
    assert_eq!(caller.send("b", 1, &large).await.0, 413);
    let stranger = caller.http.post(format!("{}{url}", caller.stub.address())).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert_eq!(caller.ask("tables").await["items"][0]["rows"], 0, "nothing of all this was kept");
}

#[tokio::test]
async fn a_schema_widens_and_never_narrows() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    caller.schema().await;
    let path = format!("/api/v3/staging/tables/{TABLE}/schema");
    let mut schema: Value = caller.call(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    let put = async |schema: &Value| caller.call(Method::PUT, &path).json(schema).send().await.unwrap().status();
    schema["mdmStagingMapping"]["properties"]["A1_NEW"] = json!({"type": "integer"});
    assert_eq!(put(&schema).await, 200, "a new column");
    schema["mdmStagingMapping"]["properties"]["A1_NEW"] = json!({"type": "double"});
    assert_eq!(put(&schema).await, 200, "a wider one");
    schema["mdmStagingMapping"]["properties"]["A1_NEW"] = json!({"type": "boolean"});
    assert_eq!(put(&schema).await, 400, "a narrower one");
    schema["mdmStagingMapping"]["properties"]["A1_NEW"] = json!({"type": "double"});
    schema["mdmCrosswalkTemplate"]["mdmCrossreference"][TABLE] = json!(["A1_NOME"]);
    assert_eq!(put(&schema).await, 400, "another key");
}

#[tokio::test]
async fn faults_strike_before_or_after_the_service_acts() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    caller.schema().await;
    let intake = json!({"path": "/api/v3/staging/intake/*"});
    let one = r#"[{"A1_COD":"1"}]"#;
    let answer = json!({"do": "answer", "status": 429, "retry_after_s": 3});
    caller.order(json!({"match": intake, "action": answer, "next": 2})).await;
    let limited = caller.intake("b", 1).body(gzip(one)).send().await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"3".parse().unwrap()));
    assert_eq!(caller.send("b", 1, one).await.0, 429);
    assert_eq!(caller.ask("tables").await["items"][0]["rows"], 0, "the service saw neither");

    caller.order(json!({"match": intake, "when": "after", "action": {"do": "close"}, "next": 1})).await;
    caller.intake("b", 1).body(gzip(one)).send().await.unwrap_err();
    assert_eq!(caller.ask("tables").await["items"][0]["rows"], 1, "applied, and the answer lost");
    assert_eq!(caller.send("b", 1, one).await, ok(), "over");

    caller.order(json!({"match": {"body_contains": "poison"}, "action": {"do": "answer", "status": 400}})).await;
    assert_eq!(caller.send("c", 1, r#"[{"A1_COD":"poison"}]"#).await.0, 400);
    assert_eq!(caller.send("c", 1, r#"[{"A1_COD":"good"}]"#).await, ok());
    let requests = caller.ask("requests?path=/api/v3/staging/intake").await;
    let seen: Vec<_> = requests["items"].as_array().unwrap().iter().map(|call| call["status"].as_u64()).collect();
    assert_eq!(seen, [Some(429), Some(429), None, Some(200), Some(400), Some(200)]);
}

#[tokio::test]
async fn a_rate_strikes_the_same_calls_in_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let caller = start(folder.path()).await;
        let action = json!({"do": "answer", "status": 503});
        caller.order(json!({"match": {"path": "/api/v1/services"}, "action": action, "rate": 0.5, "seed": 7})).await;
        let mut run = Vec::new();
        for _ in 0..40 {
            run.push(caller.call(Method::GET, "/api/v1/services").send().await.unwrap().status().as_u16());
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    let struck = runs[0].iter().filter(|status| **status == 503).count();
    assert!((8..=32).contains(&struck), "{struck} of 40");
}

#[tokio::test]
async fn rac_gives_tokens_for_the_right_secret_and_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    assert_eq!(caller.token("wrong").await, Err((400, json!({"error": "invalid_client"}))));
    let token = caller.token("protheus-secret").await.unwrap();
    let entities = async |token: &str| {
        let call = caller.http.get(format!("{}/api/carol-definitions/v1/entities", caller.stub.address()));
        call.bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((entities(&token).await, entities("made-up").await), (200, 401));
    let expired = caller.call(Method::POST, "/_stub/tokens/expire").send().await.unwrap().json::<Value>().await;
    assert_eq!(expired.unwrap()["expired"], 1);
    assert_eq!(entities(&token).await, 401);
    assert_eq!(caller.ask("counts").await["tokens_issued"]["rac"], 1);
}

#[tokio::test]
async fn a_message_comes_again_until_it_is_acknowledged_and_is_lost_without_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    let token = caller.token("protheus-secret").await.unwrap();
    let ready = caller.stub.ready();
    let envelope = json!({"specversion": "1.0", "type": "CT2readXGsp", "tenantId": ready.tenant,
        "time": "2021-06-08T15:18:08.367574Z", "data": {"n": 1}});
    let post = async |path: &str, body: &Value| {
        let call = caller.http.post(format!("{}/api/v1/link/{path}", ready.address)).bearer_auth(&token).json(body);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json::<Value>().await.unwrap()
    };
    post("send/CT2readXGsp/protheus", &envelope).await;
    post("setup", &json!({})).await;
    assert_eq!(post("get", &json!({})).await["messages"], json!([]), "there was no queue: lost");
    post("send/CT2readXGsp/protheus", &envelope).await;
    let first = post("get", &json!({})).await;
    assert_eq!(first["messages"][0]["message"], envelope);
    assert_eq!(post("get", &json!({})).await["messages"], json!([]), "held by its reader");
    // The hold of 200 ms ends; nothing in here is quicker than that by chance.
    let again = loop {
        let again = post("get", &json!({})).await;
        if again["messages"] != json!([]) {
            break again;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(again["messages"][0]["taken"], 2);
    let late = post("ack", &json!({"receipts": [first["messages"][0]["receipt"]]})).await;
    assert_eq!(late["acknowledged"], 0, "the first receipt is no longer good");
    let done = post("ack", &json!({"receipts": [again["messages"][0]["receipt"]]})).await;
    assert_eq!(done["acknowledged"], 1);
    assert_eq!(caller.ask("messages").await["items"][0]["state"], "done");
}

#[tokio::test]
async fn a_provisioning_goes_its_way_and_may_fail_on_command() {
    let folder = tempfile::tempdir().unwrap();
    let caller = start(folder.path()).await;
    let plan = json!({"polls": 1, "fails": "no licence"});
    caller.call(Method::PUT, "/_stub/provisioning").json(&plan).send().await.unwrap();
    let path = "/api/carol-definitions/v1/provisionings";
    let request = async || -> Value {
        let call = caller.call(Method::POST, path).json(&json!({"contract": "C-1"}));
        call.send().await.unwrap().json().await.unwrap()
    };
    let state = async |id: &Value| -> Value {
        let path = format!("{path}/{}", id.as_str().unwrap());
        caller.call(Method::GET, &path).send().await.unwrap().json().await.unwrap()
    };
    let requested = request().await;
    let id = &requested["id"];
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(state(id).await["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, ["requested", "running", "failed"]);
    caller.call(Method::PUT, "/_stub/provisioning").json(&json!({"polls": 0})).send().await.unwrap();
    assert_eq!(&request().await["id"], id, "the same contract, the same provisioning");
    let done = state(id).await;
    assert_eq!((&done["status"], &done["client_secret"]), (&json!("done"), &json!("protheus-secret")));
}
