//! `fleetlog health`: whether a role is ready, for containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use crate::{failure::Failure, output, sender};

/// Asks a role on this machine whether it is ready, and prints its checks
///
/// Exit code 0 if it is, 1 if it is not or does not answer, as container health checks want it.
#[derive(Args)]
pub(crate) struct Health {
    /// Where the role listens
    #[arg(
        long,
        env = "FLEETLOG_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,
}

impl Health {
    /// Asks.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let url = format!("http://{}/health/ready", reachable(self.listen));
        let ask = async {
            let answer = sender::client(1)?.get(&url).send().await?;
            let ready = answer.status().is_success();
            Ok::<_, reqwest::Error>((ready, answer.text().await?))
        };
        let (ready, body) = ask.await.map_err(anyhow::Error::from)?;
        output::line(body)?;
        if ready {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{} is not ready", self.listen).into())
        }
    }
}

/// Whoever listens on all addresses is asked on the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(loopback, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_here() {
        let check = |listen: &str, asked: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        };
        check("0.0.0.0:8080", "127.0.0.1:8080");
        check("[::]:8080", "[::1]:8080");
        check("10.1.2.3:80", "10.1.2.3:80");
    }
}
