//! Components as a search finds them: a good guest changed in a few places. Whatever is pushed, the host installs it or says why
//! not, and the next plugin runs as ever. Runs for `ENGATE_FUZZ_SECONDS` (two, unless it is set); the seed is printed and
//! `ENGATE_TEST_SEED` repeats it.

use std::time::{Duration, Instant};

use engate_host::{Digest, Effort, InstallCode, Plan};

use crate::{
    guests::guest,
    rig::{Setup, rig},
};

/// How long one installation may take: the compiler has limits of its own, far above what a small guest needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Changes made to one component at most.
const CHANGES_MAX: u64 = 4;

/// A small generator whose runs repeat (splitmix64, Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn place(&mut self, bytes: &[u8]) -> usize {
        usize::try_from(self.roll(bytes.len() as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }
}

/// One change: a bit, a byte, a few bytes more or less, a part doubled, the end cut off.
fn change(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.place(bytes);
    match dice.roll(8) {
        0 | 1 => bytes[at] ^= 1 << dice.roll(8),
        2 | 3 => bytes[at] = dice.byte(),
        4 => bytes.insert(at, dice.byte()),
        5 => drop(bytes.remove(at)),
        6 => {
            let part = bytes[at..bytes.len().min(at + 32)].to_vec();
            let to = dice.place(bytes);
            bytes.splice(to..to, part);
        }
        _ if dice.roll(8) == 0 => bytes.truncate(at.max(8)),
        _ => bytes[at] = [0x00, 0x7f, 0x80, 0xff][usize::try_from(dice.roll(4)).unwrap()],
    }
}

#[tokio::test]
async fn fuzz_any_component_is_installed_or_refused_and_the_host_goes_on() {
    let seconds = std::env::var("ENGATE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let given = std::env::var("ENGATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random::<u64>);
    println!("ENGATE_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let rig = rig();
    let good = guest().build();
    let plugin = rig.load(good.clone()).await;
    let (started, mut cases, mut taken, mut ran) = (Instant::now(), 0_u64, 0_u64, 0_u64);
    while cases == 0 || started.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = good.clone();
        for _ in 0..=dice.roll(CHANGES_MAX) {
            change(&mut bytes, &mut dice);
        }
        let installed = tokio::time::timeout(PATIENCE, rig.host.install(&bytes, Effort::Full)).await.expect("it hangs");
        match installed {
            Ok(installed) => {
                taken += 1;
                // What it does may be a fault; it never is the host's.
                let loaded =
                    rig.host.load(&installed.digest, Effort::Full, || async { Ok(bytes.clone()) }).await.unwrap();
                ran += u64::from(rig.transform(&loaded, &Setup::default()).await.is_ok());
                rig.host.forget(&installed.digest);
            }
            Err(refused) => {
                assert!(!refused.message.is_empty() && refused.message.len() < 20_000, "{refused}");
                assert!(refused.code != InstallCode::TooLarge, "{refused}");
                rig.host.forget(&Digest::of(&bytes));
            }
        }
        cases += 1;
    }
    println!("{cases} components: {taken} installed, {ran} of them sent something");
    let Plan::Send { request, .. } = rig.transform(&plugin, &Setup::default()).await.unwrap().plan else { panic!() };
    assert_eq!(request.method, "POST");
    assert_eq!(rig.host.stats().instances_taken, 0, "no place in the pool is lost");
}
