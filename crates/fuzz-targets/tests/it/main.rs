//! Every file of the corpus, and every prefix of it, runs as an ordinary test.

use std::path::Path;

use mailwright_fuzz_targets::TARGETS;

#[test]
fn every_corpus_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, body) in TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let octets = std::fs::read(entry.unwrap().path()).unwrap();
            files += 1;
            for end in 0..=octets.len() {
                body(&octets[..end]);
            }
            // Every octet changed once, as a fuzzer would begin.
            for at in 0..octets.len() {
                let mut changed = octets.clone();
                changed[at] ^= 0x20;
                body(&changed);
            }
        }
        assert!(files > 0, "{name} has no corpus");
    }
}
