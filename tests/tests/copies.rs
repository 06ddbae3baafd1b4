//! Folders that were copied or restored from a backup: nothing that others have is lost, and nobody is held
//! up.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use fasti_tests::{Cluster, Fasti, Node};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

/// The core platform and Denver, which has published `policy-A` and is stopped; with a copy of its store.
fn denver_and_its_copy() -> (Cluster, PathBuf, PathBuf) {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    cluster.nodes[1].api().publish("A", "2024-04-01", "before").unwrap();
    cluster.wait_until_equal().unwrap();
    cluster.nodes[1].stop().unwrap();
    let file = cluster.nodes[1].dir().join("fasti.redb");
    let copy = cluster.root().join("backup");
    std::fs::copy(&file, &copy).unwrap();
    (cluster, file, copy)
}

/// As `cp` does: the file is the same one and has other contents.
fn put_back(backup: &Path, file: &Path) {
    std::fs::copy(backup, file).unwrap();
}

fn assert_all_show(cluster: &Cluster, policies: &[&str], forks: u64) {
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        let status = node.api().get("/v1/status").unwrap();
        assert_eq!((&status["forks"], &status["void"]), (&forks.into(), &0.into()), "{status}");
        for policy in policies {
            let event = node.api().event(&format!("policy-{policy}")).unwrap();
            assert!(event.is_some(), "{} lacks {policy}", node.name);
        }
    }
}

#[test]
fn a_restored_backup_goes_on_with_what_the_others_kept() {
    for other_file in [false, true] {
        let (mut cluster, file, copy) = denver_and_its_copy();
        cluster.nodes[1].start().unwrap();
        cluster.nodes[1].api().publish("B", "2024-04-01", "after the backup").unwrap();
        cluster.wait_until_equal().unwrap();
        cluster.nodes[1].kill().unwrap();
        if other_file {
            std::fs::rename(&copy, &file).unwrap();
        } else {
            put_back(&copy, &file);
        }
        cluster.nodes[1].start().unwrap();
        // At once, before it has heard from anybody.
        cluster.nodes[1].api().publish("C", "2024-04-01", "after the restore").unwrap();
        assert_all_show(&cluster, &["A", "B", "C"], 0);
        let log = std::fs::read_to_string(cluster.nodes[1].log()).unwrap();
        assert_eq!(log.contains("was copied or restored"), other_file, "{log}");
    }
}

#[test]
fn a_folder_that_was_copied_while_its_node_was_stopped_goes_on_elsewhere() {
    let (mut cluster, _, _) = denver_and_its_copy();
    let elsewhere = cluster.root().join("elsewhere");
    let copied = Command::new("cp").arg("-r").arg(cluster.nodes[1].dir()).arg(&elsewhere).status();
    assert!(copied.unwrap().success());
    // The old one goes on for a while, and is lost.
    cluster.nodes[1].start().unwrap();
    cluster.nodes[1].api().publish("B", "2024-04-01", "after the copy").unwrap();
    cluster.wait_until_equal().unwrap();
    cluster.nodes[1].kill().unwrap();
    cluster.nodes[1] = Node::new(&fasti(), "Denver", &elsewhere);
    cluster.nodes[1].start().unwrap();
    cluster.nodes[1].api().publish("C", "2024-04-01", "elsewhere").unwrap();
    assert_all_show(&cluster, &["A", "B", "C"], 0);
    let log = std::fs::read_to_string(cluster.nodes[1].log()).unwrap();
    assert!(log.contains("was copied or restored"), "{log}");
}

#[test]
fn two_copies_that_wrote_apart_are_shown_and_lose_nothing() {
    let (mut cluster, file, copy) = denver_and_its_copy();
    cluster.nodes[1].start().unwrap();
    cluster.nodes[1].api().publish("A", "2024-05-01", "linked").unwrap();
    cluster.wait_until_equal().unwrap();
    cluster.divide(&[&[0], &[1]]).unwrap();
    cluster.nodes[1].api().publish("B", "2024-04-01", "by one copy").unwrap();
    cluster.nodes[1].stop().unwrap();
    let one = cluster.root().join("one");
    std::fs::copy(&file, &one).unwrap();

    put_back(&copy, &file);
    cluster.nodes[1].start().unwrap();
    cluster.divide(&[&[0, 1]]).unwrap();
    cluster.wait_until_equal().unwrap();
    cluster.nodes[1].api().publish("C", "2024-04-01", "by the other copy").unwrap();
    cluster.wait_until_equal().unwrap();
    cluster.nodes[1].stop().unwrap();

    put_back(&one, &file);
    cluster.nodes[1].start().unwrap();
    assert_all_show(&cluster, &["A", "B", "C"], 1);
    for node in &cluster.nodes {
        let said = cluster.fasti().call(node.dir(), &["status"]).unwrap();
        assert!(said.contains("two histories"), "{said}");
    }
    cluster.nodes[1].api().publish("D", "2024-04-01", "afterwards").unwrap();
    cluster.nodes[0].api().publish("E", "2024-04-01", "afterwards").unwrap();
    assert_all_show(&cluster, &["A", "B", "C", "D", "E"], 1);
    cluster.nodes[0].stop().unwrap();
    cluster.nodes[0].start().unwrap();
    assert_all_show(&cluster, &["A", "B", "C", "D", "E"], 1);
}
