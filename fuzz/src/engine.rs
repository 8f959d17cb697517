//! The short run: a corpus and mutations of it, from a seed, so that a failure repeats on every machine.
//!
//! It is not guided by coverage; what the long run finds is what the corpus holds.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use crate::Target;

/// Longest mutated input, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// What parsers look out for.
const TOKENS: [&[u8]; 36] = [
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\u0065",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"1e400",
    b"-0",
    b"9223372036854775808",
    b"0.1e-9",
    b"\xff",
    b"\xc0\xa0",
    b"\xef\xbf\xbf",
    b"%00",
    b"%C0%A0",
    b"\n",
    b"\r\n",
    b"=",
    b"v1=",
    b"v1,",
    b"t=",
    b"@",
    b"/",
    b"~1",
    b"\xa1",
    b"\x9f",
    b"\xfb\x7f\xf0",
    b"\x1f\x8b\x08",
    b"device_id",
    b"timestamp",
    b"data",
];

/// An input that broke a property, and where it was written to.
#[derive(Debug)]
pub struct Broken {
    /// The file that reproduces it.
    pub file: PathBuf,
    /// What the target said.
    pub message: String,
}

/// What a run came to.
pub type Outcome = Result<usize, Broken>;

/// Runs a target on one input.
pub fn replay(target: &Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it panicked").to_owned()
    })
}

/// Runs a target on all inputs of a folder, then on mutations of them; gives how many inputs that were.
///
/// An input that breaks a property is written to `crashes`.
pub fn short_run(
    target: &Target,
    corpus: &Path,
    crashes: &Path,
    seed: u64,
    mutations: usize,
) -> io::Result<Outcome> {
    let inputs = read(corpus)?;
    let mut dice = Dice(seed ^ hash(target.name.as_bytes()));
    for input in &inputs {
        if let Err(message) = replay(target, input) {
            return keep(target, input, crashes, message).map(Err);
        }
    }
    for _ in 0..mutations {
        let input = mutated(&inputs, &mut dice);
        if let Err(message) = replay(target, &input) {
            return keep(target, &input, crashes, message).map(Err);
        }
    }
    Ok(Ok(inputs.len() + mutations))
}

/// The inputs of a folder, in the order of their names.
fn read(corpus: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(corpus)?.collect();
    let mut paths: Vec<_> = entries?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(fs::read).collect()
}

fn keep(target: &Target, input: &[u8], crashes: &Path, message: String) -> io::Result<Broken> {
    let folder = crashes.join(target.name);
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("crash-{:016x}", hash(input)));
    fs::write(&file, input)?;
    Ok(Broken { file, message })
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The generator `splitmix64`: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound; 0 if the bound is.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        self.next()
            .checked_rem(bound)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A range within so many bytes.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let longest = (length - start).min(1 << self.below(8));
        start..start + self.below(longest + 1)
    }
}

/// One of the inputs, changed in one to eight places.
fn mutated(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.pick(inputs).cloned().unwrap_or_default();
    for _ in 0..=dice.below(8) {
        mutate(&mut input, inputs, dice);
    }
    input.truncate(MAX_BYTES);
    input
}

fn mutate(input: &mut Vec<u8>, inputs: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    match dice.below(9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = dice.next().to_le_bytes()[0];
            }
        }
        2 => input.insert(at, dice.next().to_le_bytes()[0]),
        3 => {
            let range = dice.range(input.len());
            input.drain(range);
        }
        4 => {
            let token = dice.pick(&TOKENS).copied().unwrap_or_default();
            input.splice(at..at, token.iter().copied());
        }
        5 => {
            let token = dice.pick(&TOKENS).copied().unwrap_or_default();
            let range = dice.range(input.len());
            input.splice(range, token.iter().copied());
        }
        6 => {
            // A part of its own, once more: nesting and doubled members.
            let range = dice.range(input.len());
            let part = input.get(range).unwrap_or_default().repeat(1 + dice.below(4));
            input.splice(at..at, part);
        }
        7 => {
            let other = dice.pick(inputs).map(Vec::as_slice).unwrap_or_default();
            let range = dice.range(other.len());
            let part = other.get(range).unwrap_or_default().to_vec();
            input.splice(at..at, part);
        }
        _ => input.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_three_quotes(bytes: &[u8]) {
        assert!(bytes.split(|byte| *byte == b'"').count() < 4, "three quotes");
    }

    const STRICT: Target = Target {
        name: "strict",
        about: "",
        run: no_three_quotes,
    };

    #[test]
    fn what_breaks_a_property_is_found_kept_and_found_again() {
        let folder = std::env::temp_dir().join(format!("fleetlog-fuzz-{}", std::process::id()));
        let (corpus, crashes) = (folder.join("corpus"), folder.join("crashes"));
        fs::create_dir_all(&corpus).unwrap();
        fs::write(corpus.join("one"), "{\"a\"").unwrap();
        let run = || {
            short_run(&STRICT, &corpus, &crashes, 1, 10_000)
                .unwrap()
                .unwrap_err()
        };
        let broken = run();
        assert_eq!(broken.message, "three quotes");
        assert_eq!(broken.file, run().file, "a seed repeats a run");
        let input = fs::read(&broken.file).unwrap();
        assert!(replay(&STRICT, &input).is_err() && replay(&STRICT, b"\"").is_ok());
        fs::remove_dir_all(folder).unwrap();
    }
}
