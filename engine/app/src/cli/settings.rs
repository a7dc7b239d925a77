//! Settings on the command line: the flags that name them, and `engate config`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use engate_model::Invalid;
use serde_json::json;

use super::{declared, failure::Failure, present::Screen};
use crate::config::{self, Config, Loaded, SETTINGS, Source};

/// Read where nobody names another file.
const FILE_DEFAULT: &str = "engate.toml";
/// Variables that begin with `ENGATE_` and are no settings: the command line's own, and the tests'.
const OTHER_VARIABLES: [&str; 4] = ["ENGATE_URL", "ENGATE_TOKEN", "ENGATE_CONFIG", "ENGATE_TEST_REQUIRE"];

/// Flags that name settings. A flag comes before a variable, a variable before the file.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct SettingsArgs {
    /// Configuration file; without it engate.toml in this folder, where there is one
    #[arg(long, env = "ENGATE_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,

    /// Address and port of the API, such as 127.0.0.1:8080; port 0 takes a free one [setting: listen]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// sqlite:FILE or postgres://USER@HOST/DATABASE [setting: database]
    #[arg(long, value_name = "URL")]
    database: Option<String>,

    /// Folder for the database file, the key file and the plugin cache [setting: data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

/// Settings with their origin.
pub(super) struct Gathered {
    /// Every setting with its value and where that came from.
    pub(super) loaded: Loaded,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// Variables that look like settings and are none.
    pub(super) stray: Vec<String>,
}

impl SettingsArgs {
    /// Gathers flags, environment, file and defaults.
    pub(super) fn gather(&self) -> Result<Gathered, Failure> {
        let file = self.config.clone().or_else(|| Path::new(FILE_DEFAULT).exists().then(|| FILE_DEFAULT.into()));
        let text = file.as_deref().map(read_file).transpose()?;
        let named = [("listen", &self.listen), ("database", &self.database), ("data", &self.data)];
        let flags: Vec<_> = named.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        let variable = |name: &str| std::env::var(name).ok();
        let loaded = config::load(text.as_deref(), variable, &flags).map_err(|invalid| refused(&invalid))?;
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let loaded = loaded.with_connections(variables).map_err(|invalid| refused(&invalid))?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Ok(Gathered { loaded, file, stray: stray_variables(names) })
    }

    /// The settings, typed and checked.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        Config::parse(&self.gather()?.loaded).map_err(|invalid| refused(&invalid))
    }
}

fn read_file(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("--config: {}: {error}", path.display())))
}

/// Variables that begin like settings and are none: a typing error would otherwise go unnoticed.
fn stray_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = |name: &str| {
        OTHER_VARIABLES.contains(&name)
            || name.starts_with(declared::VARIABLES)
            || config::is_connection_variable(name)
            || SETTINGS.iter().any(|s| s.variable() == name)
    };
    let mut stray: Vec<_> = names.filter(|name| name.starts_with("ENGATE_") && !known(name)).collect();
    stray.sort_unstable();
    stray
}

/// What is wrong with settings, one a line.
pub(super) fn refused(invalid: &Invalid) -> Failure {
    let lines: Vec<_> = invalid.0.iter().map(|error| format!("  - {}: {}", error.field, error.message)).collect();
    Failure::usage(format!("the settings cannot be used\n{}", lines.join("\n")))
}

/// `engate config`
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every setting: its value, where that came from, and what it does
    ///
    /// The output is a configuration file: `engate config show > engate.toml` makes one to edit. Secrets are masked.
    Show(SettingsArgs),
    /// Check all settings without starting anything; every complaint is printed at once
    Check(SettingsArgs),
}

/// Runs `engate config`.
pub(super) fn run(command: &ConfigCommand, screen: Screen) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show(settings) => show(&settings.gather()?, screen),
        ConfigCommand::Check(settings) => check(&settings.gather()?, screen),
    }
}

fn show(gathered: &Gathered, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        let settings = gathered.loaded.all().iter().map(|setting| {
            json!({
                "key": setting.setting.key,
                "value": setting.shown(),
                "source": setting.source.to_string(),
                "variable": setting.setting.variable(),
                "default": setting.setting.default,
                "help": setting.setting.help,
            })
        });
        return screen.line(json!({ "items": settings.collect::<Vec<_>>() }).to_string());
    }
    screen.line("# Engate's settings. A flag comes before a variable, a variable before this file.")?;
    let file = gathered.file.as_deref();
    gathered.loaded.all().iter().try_for_each(|setting| screen.line(setting_lines(setting, file)))?;
    screen.line(CONNECTIONS_LINES)?;
    gathered.loaded.connections().iter().try_for_each(|(name, lines)| {
        let tenants = json!(lines.tenants());
        screen.line(format!("# [connections.{name}]\n# url = \"***\"\n# tenants = {tenants}"))
    })
}

/// What `engate config show` says of connections, whose names are the operator's own.
const CONNECTIONS_LINES: &str = "
# Databases of other systems that jobs may read: [connections.NAME] with url = \"postgres://..\", \"mysql://..\",
# \"mariadb://..\" or \"sqlite:FILE\"; variable ENGATE_CONNECTIONS_NAME_URL. They are only ever read. For tenants other than
# the first they are not there, unless tenants = [\"default\", \"acme\"] names them by their slugs; variable
# ENGATE_CONNECTIONS_NAME_TENANTS, with commas between.";

/// One setting as lines of a configuration file.
fn setting_lines(resolved: &config::Resolved, file: Option<&Path>) -> String {
    let setting = resolved.setting;
    let source = match (&resolved.source, file) {
        (Source::File, Some(file)) => format!("from {}", file.display()),
        (Source::Environment, _) => format!("from {}", setting.variable()),
        (Source::Flag, _) => "from the command line".to_owned(),
        (Source::Default | Source::File, _) => format!("the default; variable {}", setting.variable()),
    };
    // A TOML basic string is a JSON string, but for characters that no setting holds.
    let value = json!(resolved.shown()).to_string();
    // A masked secret must not become the value when the output is used as a file.
    let hidden = if setting.secret { "# " } else { "" };
    format!("\n# {}\n# {source}\n{hidden}{} = {value}", setting.help, setting.key)
}

fn check(gathered: &Gathered, screen: Screen) -> Result<(), Failure> {
    Config::parse(&gathered.loaded).map_err(|invalid| refused(&invalid))?;
    let given = gathered.loaded.all().iter().filter(|setting| setting.source != Source::Default).count();
    if screen.json {
        return screen.line(
            json!({ "valid": true, "file": gathered.file, "given": given, "unknown_variables": gathered.stray })
                .to_string(),
        );
    }
    for name in &gathered.stray {
        screen.line(format!("warning: {name} is no setting and is ignored"))?;
    }
    let file = gathered.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    screen.line(format!("The settings are valid ({file}; {given} given, the rest at their defaults)."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_config_show_prints_is_a_file_that_loads_to_the_same() {
        let secret = |name: &str| (name == "ENGATE_ADMIN_TOKEN").then(|| "hush".to_owned());
        let loaded = config::load(None, secret, &[("files.root", "C:\\a \"b\"".to_owned())]).unwrap();
        let text: String = loaded.all().iter().map(|setting| setting_lines(setting, None)).collect();
        assert!(!text.contains("hush"), "{text}");
        let again = config::load(Some(&text), |_| None, &[]).unwrap();
        for (before, after) in loaded.all().iter().zip(again.all()).filter(|(before, _)| !before.setting.secret) {
            assert_eq!((before.setting.key, &before.value), (after.setting.key, &after.value));
        }
    }

    #[test]
    fn a_misspelt_variable_is_noticed() {
        let names = ["ENGATE_LISTEN", "ENGATE_EGRES_ALLOW", "ENGATE_URL", "ENGATE_APPLY_SECRET_A", "PATH"];
        let names = names.map(str::to_owned);
        assert_eq!(stray_variables(names.into_iter()), ["ENGATE_EGRES_ALLOW"]);
    }
}
