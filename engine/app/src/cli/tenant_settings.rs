//! `engate settings`: the parameters of a tenant. Those of the process are `engate config`'s.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value};

use super::{
    client::read,
    failure::Failure,
    given,
    object::spelled,
    present::{Field, Screen},
    remote::{Guard, Remote},
};

/// `engate settings`
#[derive(Debug, Subcommand)]
pub(super) enum SettingsCommand {
    /// Show every setting with its present value, defaults included
    Show,
    /// Change settings: all that are given or, where one cannot be taken, none
    #[command(after_help = SET_HELP)]
    Set {
        /// A setting's name and its value
        #[arg(value_name = "NAME=VALUE", required = true, value_parser = given::pair)]
        settings: Vec<(String, String)>,

        #[command(flatten)]
        guard: Guard,
    },
}

/// What `engate settings set --help` adds.
const SET_HELP: &str = "\
Settings:
  service_desk.use_webhooks  the parameter UTILIZAR WEBHOOKS: false lets no event go anywhere (short: use_webhooks)
  MODULE.use_webhooks        the same for one module: the event types whose keys begin with MODULE.
  locale.timezone            zone in which days are meant where nobody says another
  locale.language            language of what people read where nobody says another: pt-BR or en
  jobs.paused                true holds all jobs back: no run begins until it is false again

Examples:
  engate settings set use_webhooks=false
  engate settings set billing.use_webhooks=true locale.timezone=America/Manaus";

/// Runs `engate settings`.
pub(super) async fn run(command: SettingsCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    let path = ["v1", "settings"];
    match command {
        SettingsCommand::Show => {
            let (answer, tag) = client.get_tagged(&path).await?;
            print(&answer, tag.as_deref(), screen)
        }
        SettingsCommand::Set { settings, guard } => {
            let body = Value::Object(body(settings)?);
            print(&client.edit(Method::PUT, &path, Some(&body), guard.tag()).await?, None, screen)
        }
    }
}

/// The settings as the API takes them: switches as such, anything else as text.
fn body(settings: Vec<(String, String)>) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    for (name, value) in settings {
        let value = match value.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::String(value),
        };
        if body.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("{name} is given twice")));
        }
    }
    Ok(body)
}

fn print(answer: &str, tag: Option<&str>, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let settings: Map<String, Value> = read(answer)?;
    let rows = settings.iter().map(|(name, value)| vec![Field::new(name), Field::new(spelled(value))]).collect();
    screen.table(&["SETTING", "VALUE"], rows, "No setting.")?;
    match tag {
        Some(tag) => screen.facts(&[("etag", Field::new(tag))]),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn switches_are_such_and_anything_else_is_text() {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let given = body(pairs(&[("a.use_webhooks", "false"), ("locale.language", "en")])).unwrap();
        assert_eq!(Value::Object(given), json!({"a.use_webhooks": false, "locale.language": "en"}));
        assert!(body(pairs(&[("a", "true"), ("a", "false")])).is_err());
    }
}
