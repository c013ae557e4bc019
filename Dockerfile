# The production image: one binary on a slim Debian, run by an unprivileged user.

FROM rust:1.95-slim-bookworm AS builder
# The bundled SQLite and the TLS library are C: they need a compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN cargo build --release --locked -p chat-gateway

FROM debian:bookworm-slim
# Certificate authorities, for `sslmode=verify-full` to a managed PostgreSQL, and for `JWKS_URL`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# A fixed uid, so that a volume has the same owner in every release.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin chat \
    && install -d -o chat -g chat /app/data
COPY --from=builder /build/target/release/chat-gateway /usr/local/bin/
WORKDIR /app
USER 10001:10001
# Only SQLite, the default, writes here; with PostgreSQL it stays empty.
VOLUME /app/data
EXPOSE 3001
# Readiness, not liveness: a gateway without its database is not healthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["chat-gateway", "healthcheck"]
# Exec form, so that SIGTERM reaches the gateway itself and it stops cleanly.
ENTRYPOINT ["chat-gateway"]
CMD ["serve"]
