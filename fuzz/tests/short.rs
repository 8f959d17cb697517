//! The short run of every target.

use std::path::Path;

use fuzz::{TARGETS, short_run};

/// How many mutations of its corpus each target is run on.
const MUTATIONS: usize = 4_000;

#[test]
fn every_target_holds_on_its_corpus_and_on_mutations_of_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for target in TARGETS {
        let corpus = folder.join("corpus").join(target.name);
        let run = short_run(target, &corpus, &folder.join("crashes"), 7, MUTATIONS);
        match run.unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
            Ok(n_run) => assert!(n_run > MUTATIONS, "{} has no corpus", target.name),
            Err(found) => broken.push(format!(
                "{}: {}\n  again with: ./dev fuzz {} {}",
                target.name,
                found.message,
                target.name,
                found.file.display()
            )),
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
