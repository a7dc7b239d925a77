//! How the engine shows a partner who it is, in options. The secret is read from elsewhere, never from an argument.

use std::io::{IsTerminal as _, stdin};

use clap::{Args, builder::PossibleValuesParser};
use serde_json::Value;

use crate::cli::{
    failure::Failure,
    given::{self, SecretOptions},
};

/// Where the secret comes from.
const SECRET: SecretOptions = SecretOptions {
    file: "--auth-secret-file",
    variable: "--auth-secret-env",
    question: "Secret of the authentication (not shown)",
};

/// Authentication towards an endpoint.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub(super) struct AuthArgs {
    /// How the engine shows who it is; the secret comes from --auth-secret-file or --auth-secret-env, else it is asked for
    #[arg(long, value_name = "TYPE")]
    #[arg(value_parser = PossibleValuesParser::new(["none", "basic", "authorization", "header", "oauth2", "mtls"]))]
    auth: Option<String>,

    /// Of basic: the user name
    #[arg(long, value_name = "NAME", requires = "auth")]
    auth_user: Option<String>,

    /// Of header: the header's name
    #[arg(long, value_name = "NAME", requires = "auth")]
    auth_header: Option<String>,

    /// Of oauth2: where tokens are fetched
    #[arg(long, value_name = "URL", requires = "auth")]
    auth_token_url: Option<String>,

    /// Of oauth2: who asks
    #[arg(long, value_name = "ID", requires = "auth")]
    auth_client_id: Option<String>,

    /// Of oauth2: what is asked for
    #[arg(long, value_name = "SCOPE", requires = "auth")]
    auth_scope: Option<String>,

    /// Of mtls: a file with the certificate and those that lead to its authority, as PEM
    #[arg(long, value_name = "FILE|-", requires = "auth")]
    auth_certificate: Option<String>,

    /// A file with the secret, - for standard input: the password (basic), exactly what is sent (authorization, header),
    /// the client's secret (oauth2), the private key as PEM (mtls). One newline at its end is left out
    #[arg(long, value_name = "FILE|-", requires = "auth")]
    auth_secret_file: Option<String>,

    /// The name of a variable that holds the secret
    #[arg(long, value_name = "VARIABLE", requires = "auth", conflicts_with = "auth_secret_file")]
    auth_secret_env: Option<String>,
}

/// What an endpoint that is new needs of a secret, and one that is changed may have already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretNeed {
    /// Without one it is asked for.
    New,
    /// Without one the present one stays.
    Kept,
}

impl AuthArgs {
    /// The options that may read standard input.
    pub(super) fn sources(&self) -> [(&'static str, Option<&str>); 2] {
        [("--auth-certificate", self.auth_certificate.as_deref()), (SECRET.file, self.auth_secret_file.as_deref())]
    }

    /// What was given, as the API takes it.
    pub(super) fn body(&self, need: SecretNeed) -> Result<Option<Value>, Failure> {
        let Some(kind) = &self.auth else { return Ok(None) };
        let secret = self.secret(kind, need)?;
        let field = secret_field(kind);
        if let (Some(_), None) = (&secret, field) {
            return Err(Failure::usage(format!("--auth {kind} has no secret; leave {} out", SECRET.file)));
        }
        let certificate = self.auth_certificate.as_deref();
        let certificate = certificate.map(|source| given::text("--auth-certificate", source)).transpose()?;
        let mut body = given::fields([
            ("type", Some(Value::from(kind.as_str()))),
            ("username", self.auth_user.clone().map(Value::from)),
            ("name", self.auth_header.clone().map(Value::from)),
            ("token_url", self.auth_token_url.clone().map(Value::from)),
            ("client_id", self.auth_client_id.clone().map(Value::from)),
            ("scope", self.auth_scope.clone().map(Value::from)),
            ("certificate", certificate.map(Value::from)),
        ]);
        body.extend(field.zip(secret).map(|(field, secret)| (field.to_owned(), Value::from(secret))));
        Ok(Some(Value::Object(body)))
    }

    fn secret(&self, kind: &str, need: SecretNeed) -> Result<Option<String>, Failure> {
        let (file, variable) = (self.auth_secret_file.as_deref(), self.auth_secret_env.as_deref());
        // A key has many lines, of which a question takes the first.
        if kind == "mtls" && file == Some("-") && stdin().is_terminal() {
            return Err(Failure::usage(format!("{}: name the file with the key, or pipe it in", SECRET.file)));
        }
        let secret = SECRET.read(file, variable)?;
        let is_asked = secret.is_none() && need == SecretNeed::New && !matches!(kind, "none" | "mtls");
        if is_asked { SECRET.ask().map(Some) } else { Ok(secret) }
    }
}

/// What the API calls the secret of a type.
fn secret_field(kind: &str) -> Option<&'static str> {
    match kind {
        "basic" => Some("password"),
        "authorization" | "header" => Some("value"),
        "oauth2" => Some("client_secret"),
        "mtls" => Some("key"),
        _ => None,
    }
}
