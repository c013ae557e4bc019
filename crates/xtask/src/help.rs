//! The text of `cargo xtask help`.

pub(crate) const HELP: &str = "\
Developer commands.

    cargo xtask test [arguments of cargo test]
        provides what the tests need (PostgreSQL, Redis, Node.js, Python, a browser)
        and runs them: all of them, or the packages selected with -p

    cargo xtask needs
        installs what the tests need, as root on Debian or Ubuntu; elsewhere it prints
        what is missing

    cargo xtask book
        makes a book of docs/ in target/book/html, with a pinned mdBook that it installs
        in target/tools

    cargo xtask dist [--profile dev|release] [--target TRIPLE] [--binary FILE]
                     [--version VERSION] [--output DIR]
        builds the gateway and makes the files of a release in target/dist/: a Debian
        package, an archive, a list of what is compiled in (CycloneDX) and SHA256SUMS
            --profile      dev: the debug build, hardly compressed, to try it out
            --target       x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu (this
                           machine's)
            --binary       packages this binary instead of building one
            --version      another version than the workspace's

    cargo xtask simulate [--seeds N] [--first N]
        runs N seeds (100000) of the simulation of delivery, then checks that it
        finds every planted bug; SIMULATION_SEED=N cargo test -p chat-delivery
        --test simulation -- --nocapture replays one seed

    cargo xtask fuzz [--seconds N] [--target NAME]
        runs each fuzz target, two at a time, or one of them, for N seconds (60) with
        libFuzzer; fails if an input breaks one, and names the file

    cargo xtask mutants [arguments of cargo mutants]
        changes the code of the domain and the delivery in every way that
        cargo-mutants knows; each change must fail a test, or be named with a
        reason in .cargo/mutants.toml

    cargo xtask chaos [--nodes N] [--rounds N] [--messages N] [--seed N]
        injects every fault around a gateway under load, in N rounds each (20) and
        until N messages are acknowledged (100000), and compares what its clients
        received with what is stored; with --nodes 2 or 3, the faults of several
        gateways on one PostgreSQL instead; the seed decides every random choice,
        and each test prints it

    cargo xtask chaos --controls [--seed N] [--peer DIR] [--peer-schema FILE]
        builds a gateway with planted bugs, each of which must be found; with --peer
        (see bench), it must be found that two nodes of that server lose messages
        when Redis is killed

    cargo xtask attack [NAME]...
        runs the attack tests at their full size, in the release build, and prints for
        each the p99 latency of an honest pair of clients beside that before the
        attack, and the gateway's memory before, during and after it

    cargo xtask bench [--scenario s1w1,s2n200,…] [--repeats N] [--database sqlite]
                      [--peer DIR[@POOL]]… [--peer-schema FILE] [--folder DIR]
                      [--json FILE]
        starts PostgreSQL and the gateway's release build, runs the load test's
        scenarios N times each (3), pinned to cores if possible, checks that
        every acknowledged message is in the table, and prints medians
            --scenario     s1wN: N messages in flight; s2nN, s3nN, s4nN: N connections
                           (s1w1,s1w8,s2n1000,s2n200,s3,s4)
            --database     sqlite: the embedded database instead of PostgreSQL
            --peer         a built server to run in turn with the gateway: its program
                           named run, else node with dist/main.js or server.js, else
                           Cargo's release binary; its environment has PORT (3001),
                           DATABASE_URL, JWT_SECRET and, as PG_POOL, the number
                           after @
            --peer-schema  its tables, if it has no schema.sql of its own
            --folder       where databases are stored; it should be on a real disk (the
                           system's temporary folder)
            --json         writes every run to this file, as the load test printed it

    cargo xtask bench --growth [rooms,members,rows,connections,nodes,fan-out,
                                small-rooms,hot-room,history]
                      [--repeats N] [--folder DIR]
        how throughput, CPU time and the latency of pages change as these grow:
        one table each (all of them)

    cargo xtask bench --redis-faults [none,killed,restarted,suspended,slow-clients,
                                      cut-to-redis,cut-from-redis]
                      [--peer DIR]... [--repeats N] [--folder DIR]
        local throughput and latency before and while Redis fails between two nodes
        in these ways (all of them), and what members on the other node miss

    cargo xtask bench --micro [--update]
        counts the instructions of the hot code paths and compares them with the
        committed figures; fails if one rose by more than 15%, and names it
            --update       writes the figures instead
";
