//! Asking before something is done that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use crate::failure::Failure;

/// Whether to ask.
#[derive(Args, Clone)]
pub(crate) struct Confirmation {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Shows what would be done, and goes on only if somebody says yes.
    pub(crate) fn of(&self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format!(
                "{what}\nthis cannot be undone, and nobody can be asked here: --yes says that it is meant"
            )));
        }
        eprint!("{what}\nThis cannot be undone. Type yes to go on: ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == "yes" {
            Ok(())
        } else {
            Err(Failure::refused("nothing was done"))
        }
    }
}
