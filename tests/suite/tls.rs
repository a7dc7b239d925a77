//! TLS by the engine itself: HTTP/1.1 and 2, a certificate renewed without a restart, and files that cannot be used.

use std::{path::Path, process::Stdio, time::Duration};

use reqwest::{Certificate, Client, Version};

use crate::harness::{Backend, Database, Engine, Setup, block_on, eventually};

/// Writes a new certificate for this machine with its key; gives it as PEM.
fn renew(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

fn client(certificate: &str, http1_only: bool) -> Client {
    let builder = Client::builder().no_proxy().tls_certs_only([Certificate::from_pem(certificate.as_bytes()).unwrap()]);
    let builder = if http1_only { builder.http1_only() } else { builder };
    builder.timeout(Duration::from_secs(10)).build().unwrap()
}

fn with_tls(folder: &Path) -> Setup {
    let file = |name: &str| folder.join(name).display().to_string();
    Setup::new().set("tls.certificate", &file("cert.pem")).set("tls.key", &file("key.pem"))
}

#[test]
fn the_engine_speaks_tls_and_takes_a_renewed_certificate() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let first = renew(folder.path());
        let database = Database::create(Backend::Sqlite).await.unwrap();
        let mut engine = Engine::start(&database, with_tls(folder.path())).await;
        let url = format!("{}/healthz", engine.url());
        assert!(url.starts_with("https://"), "{url}");
        for (http1_only, version) in [(false, Version::HTTP_2), (true, Version::HTTP_11)] {
            let answer = client(&first, http1_only).get(&url).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            assert!(answer.headers().contains_key("strict-transport-security"));
        }
        let plain = client(&first, true).get(url.replace("https", "http")).send().await;
        assert!(plain.is_err(), "{plain:?}");
        // A key that does not go with the certificate changes nothing.
        let good = std::fs::read(folder.path().join("key.pem")).unwrap();
        std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
        engine.signal_hangup();
        eventually("the log says that the certificate stays", async || {
            let log = engine.log();
            if log.contains("the TLS certificate stays as it was") { Ok(()) } else { Err(log) }
        })
        .await;
        client(&first, false).get(&url).send().await.unwrap();
        std::fs::write(folder.path().join("key.pem"), good).unwrap();

        let second = renew(folder.path());
        eventually("the new certificate is in use", async || {
            client(&second, false).get(&url).send().await.map(drop).map_err(|error| format!("{error:?}"))
        })
        .await;
        assert!(client(&first, false).get(&url).send().await.is_err(), "the old certificate is out of use");
        assert!(engine.terminate().await.success());
        database.remove().await;
    });
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    renew(folder.path());
    let start = |set: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_engate"));
        let names = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("ENGATE_"));
        for name in names {
            command.env_remove(name);
        }
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("ENGATE_DATA", folder.path().join("data"));
        command.envs(set.iter().map(|(name, value)| (*name, *value))).stdin(Stdio::null()).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start(&[("ENGATE_TLS_CERTIFICATE", "cert.pem")]);
    assert!(said.contains("tls.key"), "{said}");
    let said = start(&[("ENGATE_TLS_CERTIFICATE", "cert.pem"), ("ENGATE_TLS_KEY", "missing.pem")]);
    assert!(said.contains("missing.pem"), "{said}");
    let said = start(&[("ENGATE_TLS_CERTIFICATE", "key.pem"), ("ENGATE_TLS_KEY", "key.pem")]);
    assert!(said.contains("key.pem") && said.contains("certificate"), "{said}");
}
