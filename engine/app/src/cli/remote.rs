//! The options of every command that speaks to a running engine.

use clap::{Arg, ArgAction, Args, Command, value_parser};
use engate_model::Secret;
use url::Url;

use super::{client::Client, failure::Failure, present::Screen};

/// Options that may stand before or after the command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct Remote {
    /// Where the engine's API is
    #[arg(long, global = true, env = "ENGATE_URL", value_name = "URL", hide_env_values = true)]
    #[arg(default_value = "http://127.0.0.1:8080")]
    url: Url,

    /// The key to the API; better given as a variable, since other users can see command lines
    #[arg(long, global = true, env = "ENGATE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<TokenText>,

    /// Print JSON: the API's answers as they came
    #[arg(long, global = true, help_heading = None)]
    json: bool,
}

/// A token on its way from the command line; it prints as `***`.
#[derive(Debug, Clone)]
struct TokenText(Secret);

impl std::str::FromStr for TokenText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Secret::new(text.trim())))
    }
}

impl Remote {
    /// Whether JSON is wanted.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Where results go.
    pub(super) fn screen(&self) -> Screen {
        Screen::stdout(self.json)
    }

    /// A client of the engine that is meant.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        // An empty variable is how shells and composers unset one.
        let token = self.token.as_ref().map(|token| token.0.clone()).filter(|token| !token.expose().is_empty());
        Client::new(self.url.clone(), token)
    }
}

/// Hides these options from the help of a command that speaks to no engine, and of those below it.
pub(super) fn hide_engine(command: Command) -> Command {
    let hidden = |id: &'static str| Arg::new(id).long(id).hide(true);
    everywhere(command, &|command| {
        command
            .arg(hidden("url").value_parser(value_parser!(Url)))
            .arg(hidden("token").value_parser(value_parser!(TokenText)))
    })
}

/// Hides `--json` from the help of a command that has nothing to print as JSON.
pub(super) fn hide_json(command: Command) -> Command {
    everywhere(command, &|command| command.arg(Arg::new("json").long("json").hide(true).action(ArgAction::SetTrue)))
}

fn everywhere(command: Command, change: &dyn Fn(Command) -> Command) -> Command {
    let below: Vec<_> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let changed = below
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |below| everywhere(below, change)));
    change(changed)
}
