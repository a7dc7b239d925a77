//! The options of every command that speaks to a running engine.

use clap::{Arg, ArgAction, Args, Command, value_parser};
use engate_model::Secret;
use url::Url;

use super::{
    client::{Client, URL_WANTED},
    failure::Failure,
    present::Screen,
};

/// Where an engine listens that was told nothing else.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// Options that may stand before or after the command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct Remote {
    /// Where the engine's API is
    #[arg(long, global = true, env = "ENGATE_URL", value_name = "URL", hide_env_values = true)]
    #[arg(default_value = URL_DEFAULT)]
    url: UrlText,

    /// The key to the API; better given as a variable, since other users can see command lines
    #[arg(long, global = true, env = "ENGATE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<TokenText>,

    /// Print JSON: the API's answers as they came
    #[arg(long, global = true, help_heading = None)]
    json: bool,
}

/// A URL on its way from the command line. It is read where it is used, since clap would repeat a wrong one, password and
/// all.
#[derive(Clone)]
struct UrlText(String);

impl std::fmt::Debug for UrlText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::str::FromStr for UrlText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An empty variable is how shells and composers unset one.
        Ok(Self(if text.trim().is_empty() { URL_DEFAULT } else { text.trim() }.to_owned()))
    }
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

    /// The engine that is meant.
    #[cfg(test)]
    pub(super) fn url(&self) -> &str {
        &self.url.0
    }

    /// Where results go.
    pub(super) fn screen(&self) -> Screen {
        Screen::stdout(self.json)
    }

    /// A client of the engine that is meant.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        // An empty variable is how shells and composers unset one.
        let token = self.token.as_ref().map(|token| token.0.clone()).filter(|token| !token.expose().is_empty());
        let url = Url::parse(&self.url.0).map_err(|error| Failure::usage(format!("{URL_WANTED}: {error}")))?;
        Client::new(url, token)
    }
}

/// Guards an edit against those of others.
#[derive(Debug, Args)]
pub(super) struct Guard {
    /// Do it only while it is what this ETag stands for, which `show` prints; else the engine refuses
    #[arg(long, value_name = "ETAG", value_parser = tag)]
    if_match: Option<String>,
}

impl Guard {
    /// The tag, as the header has it.
    pub(super) fn tag(&self) -> Option<&str> {
        self.if_match.as_deref()
    }
}

/// A tag with its quotes, which shells like to take away.
fn tag(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("give the tag as it was printed".to_owned());
    }
    let is_whole = text == "*" || text.starts_with('"') || text.starts_with("W/");
    Ok(if is_whole { text.to_owned() } else { format!("\"{text}\"") })
}

/// For a command whose own `--url` is a partner's: there the engine's is `--engine-url`.
///
/// The same argument under another name: as an argument of this id is there, clap does not hand the global one down, and
/// still takes its value from here or from before the command.
pub(super) fn rename_url(command: Command) -> Command {
    let engine = Arg::new("url").long("engine-url").value_name("URL").value_parser(value_parser!(UrlText));
    let engine = engine.env("ENGATE_URL").hide_env_values(true).default_value(URL_DEFAULT).help_heading("Engine");
    command.arg(engine.help("Where the engine's API is; --url is the partner's here"))
}

/// Hides these options from the help of a command that speaks to no engine, and of those below it.
pub(super) fn hide_engine(command: Command) -> Command {
    let hidden = |id: &'static str| Arg::new(id).long(id).hide(true);
    everywhere(command, &|command| {
        command
            .arg(hidden("url").value_parser(value_parser!(UrlText)))
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
