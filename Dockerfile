# The product as one image: `fleetlog ROLE`, as a user without rights.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# Cargo features of the command, for brokers that want TLS or SASL.
ARG FEATURES=""
RUN cargo build --locked --release --package fleetlog --features "$FEATURES"

FROM debian:bookworm-slim AS runtime
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --home-dir /var/lib/fleetlog --create-home --shell /usr/sbin/nologin fleetlog
COPY --from=build /src/target/release/fleetlog /usr/local/bin/fleetlog
USER fleetlog
WORKDIR /var/lib/fleetlog
ENV FLEETLOG_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["fleetlog", "health"]
ENTRYPOINT ["fleetlog"]
CMD ["run"]

# With what registers and feeds the sample organization. Not for production.
FROM runtime AS sample
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends jq \
 && rm -rf /var/lib/apt/lists/*
COPY .devtools/sample.sh /usr/local/bin/sample.sh
USER fleetlog
HEALTHCHECK NONE
ENTRYPOINT ["/bin/sh", "-c"]

# What `docker build .` makes.
FROM runtime
