//! `engate wizard`: sets a Protheus up for Carol, step by step. The steps and what they found are the engine's; this asks
//! for what a step needs, by option or at the terminal, and goes on where it was left.

mod answers;
mod ask;
mod show;

use std::{collections::BTreeMap, time::Duration};

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use self::answers::CarolArgs;
use super::{
    client::{Client, read},
    failure::Failure,
    present::{Screen, plain},
    remote::Remote,
};

/// Between two looks whether provisioning is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// `engate wizard`
#[derive(Debug, Subcommand)]
pub(super) enum WizardCommand {
    /// Set a Protheus up for Carol, step by step
    ///
    /// Goes on with the newest wizard that is not finished, at the step where it was left; with --new it begins another.
    /// What a step needs comes from the options, and at a terminal is asked for. A step that is not passed ends the
    /// command with exit code 1; cure what it shows and run it again.
    Carol(Box<CarolArgs>),
    /// List wizards and how far they are
    List,
    /// Show one wizard: how each step went
    Show {
        /// The wizard's id, as `engate wizard list` prints it
        id: String,
    },
    /// Delete a wizard and the secrets it holds; what it made stays
    Delete {
        /// The wizard's id
        id: String,
    },
}

/// A wizard as the API answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Wizard {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) steps: Vec<Step>,
    updated_at: String,
}

/// One of its steps.
#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) key: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) found: Option<Value>,
}

impl Wizard {
    fn step(&self, key: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.key == key)
    }
}

/// Runs `engate wizard`.
pub(super) async fn run(command: WizardCommand, remote: &Remote) -> Result<(), Failure> {
    let (client, screen) = (remote.client()?, remote.screen());
    match command {
        WizardCommand::Carol(args) => Running { client, screen, args: *args }.run().await,
        WizardCommand::Show { id } => {
            let answer = client.get(&["v1", "wizards", &id], &[]).await?;
            if screen.json {
                return screen.line(answer);
            }
            show::whole(&read(&answer)?, screen)
        }
        WizardCommand::Delete { id } => {
            let answer = client.act(Method::DELETE, &["v1", "wizards", &id]).await?;
            screen.done(&answer, &format!("{} is deleted; the jobs and the endpoint that it made stay.", plain(&id)))
        }
        WizardCommand::List => {
            let listing = client.list_all(&["v1", "wizards"], &[]).await?;
            if screen.json {
                return screen.line(serde_json::to_string(&listing).unwrap_or_default());
            }
            show::list(&listing.rows::<Wizard>()?, screen)
        }
    }
}

/// A run through the steps.
struct Running {
    client: Client,
    screen: Screen,
    args: CarolArgs,
}

impl Running {
    async fn run(mut self) -> Result<(), Failure> {
        let (mut wizard, mut text) = self.find().await?;
        self.say(format!("Wizard {}, at the step {}.", wizard.id, plain(&wizard.state)))?;
        let mut made = None;
        while wizard.state != "finished" {
            let key = wizard.state.clone();
            let done = match key.as_str() {
                "provisioning" if wizard.step(&key).is_some_and(|step| step.status == "running") => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    self.client.get(&["v1", "wizards", &wizard.id], &[]).await?
                }
                "credentials" => {
                    if made.is_none() && !self.args.has_credentials() {
                        made = self.handed_over(&wizard).await?;
                    }
                    self.step(&wizard, &key, made.take()).await?
                }
                _ => self.step(&wizard, &key, None).await?,
            };
            wizard = read(&done)?;
            text = done;
            let Some(step) = wizard.step(&key) else { continue };
            if !self.screen.json {
                show::step(step, self.screen)?;
            }
            if step.status == "failed" {
                if self.screen.json {
                    self.screen.line(&text)?;
                }
                return Err(Failure::failed(format!(
                    "the step {key} is not passed; cure what it shows and run this again, it goes on from here"
                )));
            }
        }
        if self.screen.json {
            return self.screen.line(&text);
        }
        self.screen.line(
            "Finished. Nothing runs yet: finish the schedule of both jobs, then start them \
             (`engate job start FWTOTVSLINKJOB`, `engate job start FWTECHFINJOB`).",
        )
    }

    /// The wizard to go on with, or a new one.
    async fn find(&self) -> Result<(Wizard, String), Failure> {
        let text = match (&self.args.id, self.args.new) {
            (Some(id), _) => self.client.get(&["v1", "wizards", id], &[]).await?,
            (None, true) => self.client.act(Method::POST, &["v1", "wizards", "carol"]).await?,
            (None, false) => {
                let all = self.client.list_all(&["v1", "wizards"], &[]).await?;
                let open = all.rows::<Wizard>()?.into_iter().find(|wizard| wizard.state != "finished");
                match open {
                    Some(wizard) => self.client.get(&["v1", "wizards", &wizard.id], &[]).await?,
                    None => self.client.act(Method::POST, &["v1", "wizards", "carol"]).await?,
                }
            }
        };
        Ok((read(&text)?, text))
    }

    async fn step(&mut self, wizard: &Wizard, key: &str, made: Option<(String, String)>) -> Result<String, Failure> {
        self.say(format!("\n{}: {}", plain(key), ask::about(key)))?;
        let path = ["v1", "wizards", &wizard.id, "steps", key];
        let body = match key {
            "welcome" => self.args.welcome()?,
            "provisioning" => self.args.provisioning()?,
            "requirements" => self.args.requirements()?,
            "companies" => self.args.companies()?,
            "credentials" => match made {
                Some((client_id, client_secret)) => {
                    json!({ "client_id": client_id, "client_secret": client_secret })
                }
                None => self.args.credentials()?,
            },
            _ => return self.client.act(Method::POST, &path).await,
        };
        self.client.send(Method::POST, &path, &body).await
    }

    /// What provisioning made, handed over this once and shown, so that it can be put away.
    async fn handed_over(&self, wizard: &Wizard) -> Result<Option<(String, String)>, Failure> {
        let made = wizard.step("provisioning").and_then(|step| step.found.as_ref());
        let is_there = made.is_some_and(|made| {
            made.get("id").is_some_and(Value::is_string) && made.get("handed_over_at").is_none_or(Value::is_null)
        });
        if !is_there {
            return Ok(None);
        }
        let text = match self.client.get(&["v1", "wizards", &wizard.id, "credentials"], &[]).await {
            Ok(text) => text,
            // They came another way, or someone was quicker.
            Err(Failure::Answered(problem)) if matches!(problem.status, 409 | 410) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let made: BTreeMap<String, String> = read(&text)?;
        let (Some(id), Some(secret)) = (made.get("client_id"), made.get("client_secret")) else { return Ok(None) };
        self.say(format!(
            "Provisioning made these credentials, which are shown this once; put them away.\n  client_id      {}\n  \
             client_secret  {}",
            plain(id),
            plain(secret)
        ))?;
        Ok(Some((id.clone(), secret.clone())))
    }

    fn say(&self, text: String) -> Result<(), Failure> {
        if self.screen.json { Ok(()) } else { self.screen.line(text) }
    }
}
