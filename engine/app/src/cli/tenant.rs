//! `engate tenant`: whose data there is. Only for an admin of the tenant `default`.

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    client::read,
    failure::Failure,
    object,
    present::{Field, Screen, plain, short_time},
    remote::Remote,
};

/// `engate tenant`
#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// List tenants
    List,
    /// Show one tenant
    Show {
        /// Its slug or id
        tenant: String,
    },
    /// Enter a tenant; its first admin token is printed this once
    Create {
        /// What it is named by
        slug: String,
        /// What people read
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
    },
    /// Change what a tenant is called
    Update {
        /// Its slug or id
        tenant: String,
        /// What it is named by from now on
        #[arg(long, value_name = "SLUG")]
        slug: Option<String>,
        /// What people read from now on
        #[arg(long, value_name = "TEXT", required_unless_present = "slug")]
        name: Option<String>,
    },
    /// Delete a tenant: its tokens, secrets, inbounds, endpoints and jobs go at once, its history stays as long as any does
    Delete {
        /// Its slug or id
        tenant: String,
    },
}

#[derive(Deserialize)]
struct Tenant {
    id: String,
    slug: String,
    name: String,
    created_at: String,
    /// Only in the answer to create.
    #[serde(default)]
    admin_token: Option<AdminToken>,
}

#[derive(Deserialize)]
struct AdminToken {
    token: String,
}

/// Runs `engate tenant`.
pub(super) async fn run(command: TenantCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        TenantCommand::List => {
            let listing = client.list_all(&["v1", "tenants"], &[]).await?;
            if screen.json {
                return screen.line(serde_json::to_string(&listing).unwrap_or_default());
            }
            let rows = listing.rows::<Tenant>()?.into_iter().map(|tenant| {
                let created = short_time(&tenant.created_at);
                vec![Field::new(tenant.id), Field::new(tenant.slug), Field::new(tenant.name), Field::new(created)]
            });
            screen.table(&["ID", "SLUG", "NAME", "CREATED (UTC)"], rows.collect(), "No tenant.")
        }
        TenantCommand::Show { tenant } => object::show(&client, &["v1", "tenants", &tenant], screen).await,
        TenantCommand::Create { slug, name } => {
            let body = match name {
                Some(name) => json!({ "slug": slug, "name": name }),
                None => json!({ "slug": slug }),
            };
            show(&client.send(Method::POST, &["v1", "tenants"], &body).await?, screen)
        }
        TenantCommand::Update { tenant, slug, name } => {
            let fields = [("slug", slug), ("name", name)].into_iter();
            let body: Map<_, _> =
                fields.filter_map(|(field, value)| Some((field.to_owned(), Value::String(value?)))).collect();
            show(&client.send(Method::PATCH, &["v1", "tenants", &tenant], &body).await?, screen)
        }
        TenantCommand::Delete { tenant } => {
            let answer = client.act(Method::DELETE, &["v1", "tenants", &tenant]).await?;
            if screen.json {
                return screen.line(if answer.is_empty() { "{}" } else { &answer });
            }
            screen.line(format!("{} is deleted; its tokens work no more.", plain(&tenant)))
        }
    }
}

fn show(answer: &str, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let tenant: Tenant = read(answer)?;
    screen.facts(&[
        ("id", Field::new(&tenant.id)),
        ("slug", Field::new(&tenant.slug)),
        ("name", Field::new(&tenant.name)),
    ])?;
    match tenant.admin_token {
        Some(AdminToken { token }) => {
            screen.facts(&[("admin token", Field::new(token))])?;
            screen.line("Keep the token now: it is shown only this once.")
        }
        None => Ok(()),
    }
}
