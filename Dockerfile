# For those who have Docker: `docker build -t remember:0.1.0 .` Everybody else says `make image`.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN target="$(uname -m)-unknown-linux-gnu" \
    && RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' cargo build --locked --release --target "$target" \
    && strip -o /remember "target/$target/release/remember"

FROM scratch
COPY --from=build /remember /remember
USER 65532:65532
ENTRYPOINT ["/remember"]
