//! Each of the ways in which publishers are known to lose rows, planted: the suite has to notice.

use engate_model::sync::Planted;

use super::{
    cases, more,
    rig::{Kind, Rig},
};

/// Puts a mistake through the cases; gives the first that notices.
async fn noticed(planted: Planted) -> Option<(&'static str, String)> {
    macro_rules! try_case {
        ($case:path, $name:literal) => {
            let mut rig = Rig::new(Kind::Sqlite).await?;
            rig.planted = Some(planted);
            // A mistake may also keep a run from ever coming to its end.
            let time = std::time::Duration::from_secs(60);
            let told = match tokio::time::timeout(time, $case(&rig)).await {
                Ok(told) => told,
                Err(_) => Err("no end".to_owned()),
            };
            rig.clean().await;
            if let Err(lost) = told {
                return Some(($name, lost));
            }
        };
    }
    try_case!(cases::c6_a_thousand_rows_of_one_stamp, "C6");
    try_case!(cases::c7_a_transaction_is_open_over_three_passes, "C7");
    try_case!(cases::c9_rows_from_before_there_were_stamps, "C9");
    try_case!(more::a_long_load_that_is_written_to_misses_nothing, "a long load");
    try_case!(cases::c11_the_target_fails_at_random, "C11");
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_known_way_to_lose_rows_is_noticed() {
    for planted in Planted::ALL {
        let told = noticed(planted).await;
        println!("{planted:?}: {told:?}");
        assert!(told.is_some(), "{planted:?} is not noticed");
    }
}
