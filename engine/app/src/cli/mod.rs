//! The command line.
//!
//! Who acts here: an operator at a terminal, or their script. `serve` and `demo` run an engine in this process;
//! `config`, `doctor`, `migrate` and `plugin check` look at this machine; every other command is an HTTP client of a
//! running engine and can do nothing that another client could not.

mod audit;
mod backup;
mod client;
mod declared;
mod delivery;
mod demo;
mod doctor;
mod endpoint;
mod event;
mod event_type;
mod failure;
mod given;
mod inbound;
mod integrator;
mod job;
mod object;
#[cfg(test)]
mod operations;
mod plain;
mod plugin;
mod present;
mod prompt;
mod queue;
mod recovery;
mod remote;
mod scratch;
mod secret;
mod sendings;
mod serve;
mod settings;
mod tenant;
mod tenant_settings;
mod token;
mod wizard;

use std::{
    ffi::OsString,
    io::{Write as _, stderr},
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use self::{
    failure::{EXIT_CODES_HELP, Exit, Failure},
    remote::Remote,
    settings::SettingsArgs,
};

/// What an engine calls this program by, with an input and an output, to compile one plugin in a process of its own. It is
/// nobody's command, so neither help nor completions know it.
const COMPILE_CHILD: &str = "compile-plugin";

/// What `engate --help` says before the exit codes.
const FIRST_STEPS_HELP: &str = "\
First steps:
  engate demo                        see it work; nothing to install
  engate serve                       run the engine; the first start prints a token
  export ENGATE_TOKEN=...            that token, for the commands below
  engate integrator create acme --service orders
  engate endpoint create --integrator acme --event-type 'order.*' --url https://acme.example/hook
  engate event send order.created --payload '{\"number\": 7}'
  engate delivery list --success no  what went wrong
  engate doctor                      what to do about it

Every command explains itself: `engate delivery list --help`.";

/// Engate, the integration engine: takes events in once and delivers them to partners, each in its own shape
#[derive(Debug, Parser)]
#[command(
    name = "engate",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = format!("{FIRST_STEPS_HELP}\n\n{EXIT_CODES_HELP}"), max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    remote: Remote,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine: API, workers, database and plugins in one process
    #[command(after_help = serve::HELP)]
    Serve(SettingsArgs),
    /// Show the engine at work, with local partners that answer in their own ways
    Demo(demo::DemoArgs),
    /// Hand events in, and see those that were taken
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Say what types of events there are, and see where each is used
    #[command(subcommand)]
    EventType(event_type::EventTypeCommand),
    /// Enter partner companies, and switch them off
    #[command(subcommand)]
    Integrator(integrator::IntegratorCommand),
    /// See what became of events, partner by partner, send again, call off
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// Register the URLs of partners, and send to them by hand
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// See what waits for each partner, and hold it back
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Try all that failed in a time again: after an outage, or a plugin's defect
    #[command(subcommand)]
    Recovery(recovery::RecoveryCommand),
    /// Let partners call, and have a plugin answer
    #[command(subcommand)]
    Inbound(inbound::InboundCommand),
    /// Set up what takes several steps
    #[command(subcommand)]
    Wizard(wizard::WizardCommand),
    /// Have things done on a schedule: events, syncs of tables, feeds, tasks
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Make, test, install, replay and replace plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Make, narrow and withdraw keys to the API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// See who did what, and check that nobody tampered with the record
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Set values that plugins may use and nobody can read back, and replace the key that seals them
    #[command(subcommand, visible_alias = "secrets")]
    Secret(secret::SecretCommand),
    /// See and change what holds for the whole tenant: the switch UTILIZAR WEBHOOKS, zone, language
    #[command(subcommand)]
    Settings(tenant_settings::SettingsCommand),
    /// Keep several companies' data apart in one engine
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Write the tenant's configuration as one file
    #[command(after_help = declared::EXPORT_HELP)]
    Export(declared::ExportArgs),
    /// Make the tenant's configuration as a file says; applied again, the same file changes nothing
    #[command(after_help = declared::APPLY_HELP)]
    Apply(declared::ApplyArgs),
    /// Show and check the settings of `engate serve`
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Bring the database to this version's schema, then end
    ///
    /// `engate serve` does this by itself; run it alone to upgrade a shared database before its engines.
    Migrate(SettingsArgs),
    /// Copy the SQLite database to a file while engines use it
    Backup(backup::BackupArgs),
    /// Put a backup in the database's place; every engine on it must be stopped
    Restore(backup::RestoreArgs),
    /// Print a script that completes commands and options in a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Find out what is wrong with an installation, and how to cure it
    #[command(after_help = doctor::HELP)]
    Doctor(SettingsArgs),
}

/// The whole program: reads the command line, does what it says, gives the exit code.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let [_, name, input, output] = args.as_slice()
        && name == COMPILE_CHILD
    {
        // A process of its own under tight limits: no threads, no runtime.
        let done = engate_host::compile_child_main(Path::new(input), Path::new(output));
        let exit = if done.is_ok() { Exit::Done } else { Exit::Failed };
        return ExitCode::from(exit as u8);
    }
    let cli = match command().try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return misused(&error, &args),
    };
    let json = cli.remote.json();
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            if let Some(message) = failure.message(json) {
                let _ = writeln!(stderr(), "{message}");
            }
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}

/// Says what clap has to say. Help and version are errors to it, of exit code 0; usage errors have 2, and are JSON where
/// that is asked for.
fn misused(error: &clap::Error, args: &[OsString]) -> ExitCode {
    if error.use_stderr() && wants_json(args) {
        if let Some(message) = usage(error).message(true) {
            let _ = writeln!(stderr(), "{message}");
        }
        return ExitCode::from(Exit::Usage as u8);
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8))
}

/// Whether `--json` is among the arguments of a command line that clap could not read.
fn wants_json(args: &[OsString]) -> bool {
    args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// A usage error of clap's as this program's own.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    Failure::usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end())
}

/// The command line as clap knows it; options that mean nothing to a command are not in its help.
fn command() -> clap::Command {
    let hide = |command: clap::Command, name: &str| command.mut_subcommand(name, remote::hide_engine);
    let command = ["serve", "demo", "config", "migrate", "backup", "restore", "completion", "doctor"]
        .into_iter()
        .fold(Cli::command(), hide);
    let silent = |command: clap::Command, name: &str| command.mut_subcommand(name, remote::hide_json);
    let command = ["serve", "demo", "migrate", "completion"].into_iter().fold(command, silent);
    let command = command.mut_subcommand("secret", |secret| hide(secret, "rotate-key"));
    let renamed = |endpoint: clap::Command, name: &str| endpoint.mut_subcommand(name, remote::rename_url);
    let command =
        command.mut_subcommand("endpoint", |endpoint| ["create", "update"].into_iter().fold(endpoint, renamed));
    command.mut_subcommand("plugin", |plugin| ["new", "build", "test", "check"].into_iter().fold(plugin, hide))
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no threads to run on: {error}")))?;
    let done = runtime.block_on(dispatch(cli));
    // Nothing that is still under way then may keep the process.
    runtime.shutdown_background();
    done
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let Cli { remote, command } = cli;
    let screen = remote.screen();
    match command {
        Command::Serve(settings) => serve::serve(&settings, screen).await?,
        Command::Demo(args) => return demo::run(&args, screen).await,
        Command::Event(command) => event::run(command, &remote).await?,
        Command::EventType(command) => event_type::run(command, &remote).await?,
        Command::Integrator(command) => integrator::run(command, &remote).await?,
        Command::Delivery(command) => delivery::run(command, &remote).await?,
        Command::Endpoint(command) => return endpoint::run(command, &remote).await,
        Command::Queue(command) => queue::run(command, &remote).await?,
        Command::Recovery(command) => recovery::run(command, &remote).await?,
        Command::Inbound(command) => inbound::run(command, &remote).await?,
        Command::Wizard(command) => wizard::run(command, &remote).await?,
        Command::Job(command) => job::run(command, &remote).await?,
        Command::Plugin(command) => plugin::run(command, &remote).await?,
        Command::Token(command) => token::run(command, &remote).await?,
        Command::Audit(command) => audit::run(command, &remote).await?,
        Command::Secret(command) => secret::run(command, &remote).await?,
        Command::Settings(command) => tenant_settings::run(command, &remote).await?,
        Command::Tenant(command) => tenant::run(command, &remote).await?,
        Command::Export(args) => declared::export(&args, &remote).await?,
        Command::Apply(args) => declared::apply(&args, &remote).await?,
        Command::Backup(args) => backup::backup(&args, screen).await?,
        Command::Restore(args) => backup::restore(&args, screen).await?,
        Command::Completion { shell } => complete(shell, screen)?,
        Command::Config(command) => settings::run(&command, screen)?,
        Command::Migrate(settings) => serve::migrate(&settings, screen).await?,
        Command::Doctor(settings) => return doctor::run(&settings, screen).await,
    }
    Ok(Exit::Done)
}

/// The script that completes this program's commands in a shell.
fn complete(shell: Shell, screen: present::Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "engate", &mut script);
    screen.line(String::from_utf8_lossy(&script).trim_end())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        command().try_get_matches_from(line.split_whitespace()).and_then(|matches| Cli::from_arg_matches(&matches))
    }

    #[test]
    fn clap_finds_nothing_wrong() {
        command().debug_assert();
    }

    #[test]
    fn json_and_url_may_stand_before_or_after_the_command() {
        for line in ["engate --json delivery list", "engate delivery --json list", "engate delivery list --json"] {
            assert!(parse(line).unwrap().remote.json(), "{line}");
        }
        assert!(parse("engate delivery list --url http://h:1 --token t").is_ok());
        assert!(parse("engate --url http://h:1 config show --json").unwrap().remote.json());
    }

    #[test]
    fn commands_that_speak_to_no_engine_do_not_offer_to() {
        let mut command = command();
        command.build();
        let help = |path: &[&str]| {
            let mut at = command.clone();
            for name in path {
                at = at.find_subcommand(name).unwrap().clone();
            }
            at.render_long_help().to_string()
        };
        for path in [&["serve"][..], &["demo"], &["config", "show"], &["doctor"], &["plugin", "check"]] {
            assert!(!help(path).contains("--url"), "{path:?}");
        }
        assert!(!help(&["serve"]).contains("--json"));
        for path in [&["config", "show"][..], &["doctor"], &["plugin", "check"], &["delivery", "list"]] {
            assert!(help(path).contains("--json"), "{path:?}");
        }
        assert!(help(&["delivery", "list"]).contains("--url"));
    }

    #[test]
    fn a_partners_url_is_not_taken_for_the_engines() {
        let url = |line: &str| parse(line).unwrap().remote.url().to_owned();
        let update = "endpoint update ep_1 --url https://partner.example/new";
        assert_eq!(url(&format!("engate --url http://engine:1 {update}")), "http://engine:1");
        assert_eq!(url(&format!("engate {update} --engine-url http://engine:2")), "http://engine:2");
        assert_eq!(url("engate endpoint list --url http://engine:3"), "http://engine:3");
        // The token must never go to a partner.
        assert!(!url(&format!("engate {update}")).contains("partner.example"));
        let create = "engate --url http://engine:1 endpoint create --url https://partner.example/in";
        assert_eq!(url(create), "http://engine:1");
    }

    #[test]
    fn a_wrong_url_is_told_with_the_cure_and_never_repeated() {
        for wrong in ["foo", "http://ana:hushpw@host:port", "ftp://ana:hushpw@host"] {
            let cli = parse(&format!("engate --url {wrong} delivery list")).unwrap();
            let told = cli.remote.client().unwrap_err().message(false).unwrap();
            assert!(told.contains("ENGATE_URL") && told.contains("such as http://127.0.0.1:8080"), "{told}");
            assert!(!told.contains("hushpw") && !format!("{cli:?}").contains("hushpw"), "{told}");
        }
    }

    #[test]
    fn a_misused_command_line_is_told_as_json_where_json_is_asked_for() {
        let args = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&args("engate delivery list --json --nope")));
        assert!(!wants_json(&args("engate delivery list --nope")) && !wants_json(&args("engate delivery -- --json")));
        let told = usage(&parse("engate delivery list --json --nope").unwrap_err()).message(true).unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["code"], "usage");
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("--nope") && !detail.starts_with("error"), "{detail}");
    }

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "engate", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["delivery", "promote", "dry-run", "completion", "rotate-secret", "unsubscribe", "event-type"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            assert!(!script.contains(COMPILE_CHILD), "{shell}");
        }
    }

    /// Every help text in one file, so that a change of it is read as text.
    #[test]
    fn the_help_reads_as_reviewed() {
        let mut texts = String::new();
        help_of(command().term_width(100), "engate", &mut texts);
        assert!(!texts.contains("compile-plugin"), "the compiling child is nobody's business");
        insta::assert_snapshot!("help", texts);
    }

    fn help_of(command: clap::Command, path: &str, texts: &mut String) {
        let mut command = command.bin_name(path);
        command.build();
        let _ = writeln!(texts, "===== {path} --help\n{}", command.clone().render_long_help());
        let below: Vec<_> = command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
        for below in below.into_iter().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name());
            help_of(below, &path, texts);
        }
    }
}
