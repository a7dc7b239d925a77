//! `engate demo`: the main job on real-looking input, nothing to install.
//!
//! Who acts here: a real engine, started as `serve` starts it, on an empty database in a temporary folder; five
//! partners on this machine that answer in their own ways ([`partners`]); a producer that publishes in the words of
//! SINtegre and GSAN ([`input`]); and a spectator ([`watch`]) that knows only what the API tells.

mod input;
mod live;
mod outcome;
mod partners;
mod stage;
mod summary;
mod watch;

use std::time::{Duration, Instant};

use clap::Args;

use self::{
    live::Live,
    outcome::{Outcome, Sight},
    partners::Partner,
    stage::Stage,
    watch::Watch,
};
use super::{
    failure::{Exit, Failure},
    present::{Field, Screen, Tone},
    serve::StopSignals,
};
use crate::{
    config::{LogFormat, LogSettings},
    telemetry,
};

/// How often the engine is asked.
const POLL: Duration = Duration::from_millis(100);
/// How long `--once` waits for everything to happen. It takes about six seconds.
const ONCE_MAX: Duration = Duration::from_secs(60);
/// Between two events of the trickle.
const TRICKLE: Duration = Duration::from_millis(1_000);
/// Events after which the trickle ends by itself; more than a day of them.
const TRICKLE_MAX: u32 = 100_000;

/// How long to play.
#[derive(Debug, Args)]
#[command(after_help = "\
The engine is the real one, on an empty database in a temporary folder that is removed at the end; it listens on a \
free port of this machine only. Nothing else is touched, and no setting is read.

Exit code with --once: 0 if every expected outcome was seen, 1 if not.")]
pub(super) struct DemoArgs {
    /// End by itself once every expected outcome was seen; without it events go on until Ctrl-C
    #[arg(long)]
    once: bool,

    /// Write the engine's log to standard error: info, debug, or a filter such as engate=debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

/// Plays the demo.
pub(super) async fn run(args: &DemoArgs, screen: Screen) -> Result<Exit, Failure> {
    let mut stop = StopSignals::listen()?;
    // Log lines would tear the live table.
    let live_screen = Screen { terminal: screen.terminal && args.log.is_none(), ..screen };
    if let Some(level) = args.log.clone() {
        telemetry::init(&LogSettings { level, format: LogFormat::Text }).map_err(Failure::usage)?;
    }
    let stage = tokio::select! {
        stage = Stage::set() => stage?,
        () = stop.next() => return Ok(Exit::Failed),
    };
    welcome(&stage, args, screen)?;
    let live = Live::new(live_screen);
    let mut play = Play { stage: &stage, live: &live, watch: Watch::new(), published: 0 };
    let started = Instant::now();
    let played = if args.once { play.once(&mut stop).await } else { play.on_and_on(&mut stop).await };
    live.end();
    played?;
    let watch = play.watch;
    let outcomes = outcome::judge(&stage.partners, &watch, &stage.client, !args.once).await?;
    summary::print(&stage.partners, &watch, &outcomes, started.elapsed(), screen)?;
    let exit = farewell(args, &outcomes, screen)?;
    stage.clear().await;
    Ok(exit)
}

fn welcome(stage: &Stage, args: &DemoArgs, screen: Screen) -> Result<(), Failure> {
    let engine = format!("http://{}", stage.server.address());
    screen.line("Engate on an empty database, with five partners on this machine.\n")?;
    screen.line(format!("  API      {engine}/v1"))?;
    screen.line(format!("  docs     {engine}/docs (with the token, like every call)"))?;
    screen.line("  console  not in this version")?;
    screen.line(format!("  plugins  {}\n", stage.plugins.join(", ")))?;
    let rows = stage.partners.iter().map(|Partner { profile, .. }| {
        let plugin = profile.plugin.unwrap_or("none");
        vec![Field::new(format!("  {}", profile.name)), Field::new(profile.answers), Field::new(plugin)]
    });
    screen.line(screen.render(&["  PARTNER", "ANSWERS", "PLUGIN"], rows.collect()))?;
    if !args.once {
        screen.line("\nLook around from another terminal while it runs (Ctrl-C ends it):\n")?;
        screen.line(format!("  export ENGATE_URL={engine} ENGATE_TOKEN={}", stage.token.expose()))?;
        let program = std::env::args().next().unwrap_or_else(|| "engate".to_owned());
        screen.line(format!("  {program} delivery list --success no"))?;
    }
    screen.line("")
}

fn farewell(args: &DemoArgs, outcomes: &[Outcome], screen: Screen) -> Result<Exit, Failure> {
    let all = outcomes.len();
    let count = |sight| outcomes.iter().filter(|outcome| outcome.sight == sight).count();
    let (seen, missing) = (count(Sight::Seen), count(Sight::Missing));
    if missing > 0 {
        screen.line(screen.paint(&format!("\n{missing} of {all} expected outcomes are missing."), Tone::Bad))?;
        screen.line("`--log debug` shows what the engine did.")?;
    } else if seen < all {
        screen.line(format!("\n{seen} of {all} expected outcomes were seen; there was no time for the others."))?;
    } else {
        screen.line(screen.paint(&format!("\nAll {all} expected outcomes were seen."), Tone::Good))?;
    }
    // Whoever ends it by hand may well do so in the middle of things.
    Ok(if args.once && seen < all { Exit::Failed } else { Exit::Done })
}

/// The demo under way.
struct Play<'a> {
    stage: &'a Stage,
    live: &'a Live,
    watch: Watch,
    published: u32,
}

impl Play<'_> {
    /// The opening, until everything that it promised has happened, or too much time has passed.
    async fn once(&mut self, stop: &mut StopSignals) -> Result<(), Failure> {
        let end = Instant::now() + ONCE_MAX;
        self.open().await?;
        loop {
            self.look().await?;
            if (self.watch.is_complete() && self.files_are_fetched()) || Instant::now() >= end {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.next() => return Ok(()),
            }
        }
    }

    /// The opening, then one event after the other until somebody ends it.
    async fn on_and_on(&mut self, stop: &mut StopSignals) -> Result<(), Failure> {
        self.open().await?;
        let mut next = Instant::now() + TRICKLE;
        for n in 0.. {
            while Instant::now() < next {
                self.look().await?;
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = stop.next() => return Ok(()),
                }
            }
            if n >= TRICKLE_MAX {
                return Ok(());
            }
            self.publish(&input::trickle(n)).await?;
            next = Instant::now() + TRICKLE;
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Failure> {
        for publication in input::opening() {
            self.publish(&publication).await?;
        }
        Ok(())
    }

    async fn publish(&mut self, publication: &input::Publication) -> Result<(), Failure> {
        self.published += 1;
        let accepted = self.stage.publish(&format!("demo-{}", self.published), publication).await?;
        self.watch.promised += accepted.deliveries;
        self.watch.accepted.insert(accepted.event, accepted.at);
        Ok(())
    }

    /// Asks the engine what happened, and shows it.
    async fn look(&mut self) -> Result<(), Failure> {
        for moved in self.watch.poll(&self.stage.client, &self.stage.partner_of).await? {
            if let Some(partner) = self.stage.partners.get(moved.partner) {
                self.live.happened(&moved, partner)?;
            }
        }
        self.live.draw(&self.stage.partners, &self.watch);
        Ok(())
    }

    /// Whether the partner that fetches files has done so: it answers first and fetches afterwards.
    fn files_are_fetched(&self) -> bool {
        let fetched = |(n, partner): (usize, &Partner)| {
            let taken = self.watch.of(n).iter().filter(|tracked| tracked.is_taken()).count();
            partner.profile.manner != partners::Manner::Accepts || partner.book().downloads.len() >= taken
        };
        self.stage.partners.iter().enumerate().all(fetched)
    }
}
