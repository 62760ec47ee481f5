//! The command line: parse, dispatch, print, exit code. One file a command.
//!
//! ```text
//!   run --> node                      this process becomes a node
//!       --> witness                   this process keeps the registers of pairs
//!       --> local                     several nodes as child processes, and a live table
//!       --> bench                     clusters as child processes, loaded and measured
//!       --> status, transfer,         clients: `client` --> HTTP --> any node
//!           members, kv
//!       --> hello                     an example application beside a node
//!       --> ask                       any HTTP server
//!       --> operator                  this process looks after clusters in Kubernetes
//!       --> certs                     files for mutual TLS
//!       --> recover, snapshot         a cluster begins anew with what is left, or a backup
//!       --> crd                       the custom resource's definition
//!       --> completion, version
//! ```
//!
//! The result goes to stdout and everything else to stderr, so that a command can stand in a pipe.
//! What a command returns as its exit code is in [`exit`]. Nothing that a user of the library
//! would miss is here.

mod ask;
mod bench;
mod certs;
mod client;
mod completion;
mod crd;
mod endpoint;
mod environment;
mod events;
mod exit;
mod hello;
mod home;
mod kv;
mod kv_entry;
mod kv_quota;
mod kv_watch;
mod leader;
mod listen;
mod local;
mod log;
mod members;
mod membership;
mod node;
mod node_process;
mod operator;
mod pods;
mod print_config;
mod progress;
mod recover;
mod snapshot;
mod status;
mod stops;
mod table;
mod terminal;
mod tls;
mod transfer;
mod witness;
mod witness_flags;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use exit::Exit;
use terminal::Terminal;

/// One leader for any replicated application: elected in milliseconds, fenced by a token.
#[derive(Parser, Debug)]
#[command(name = "remember", version, max_term_width = 100, after_help = exit::HELP)]
#[command(disable_help_subcommand = true)]
struct Cli {
    /// When to colour what is printed; `auto`: on a terminal, unless `NO_COLOR` is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto"
    )]
    color: clap::ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Node(Box<node::Node>),
    Witness(witness::Witness),
    Operator(operator::Operator),
    Local(local::Local),
    Status(status::Status),
    Transfer(transfer::Transfer),
    #[command(subcommand)]
    Members(members::Members),
    #[command(subcommand)]
    Kv(kv::Kv),
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    Recover(recover::Recover),
    #[command(subcommand)]
    Bench(bench::Bench),
    Hello(hello::Hello),
    Ask(ask::Ask),
    Certs(certs::Certs),
    /// Prints the definition of the custom resource RememberCluster, for `kubectl apply -f -`
    Crd,
    Completion(completion::Completion),
    /// Prints the version
    Version,
}

/// Runs the command line of this process, from its arguments to its exit code.
pub fn run() -> ExitCode {
    let outcome = match Cli::command().try_get_matches() {
        Ok(matches) => dispatch(&matches),
        Err(error) => usage(&error),
    };
    outcome.unwrap_or_else(|error| exit::told(&error)).into()
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<Exit> {
    let cli = match Cli::from_arg_matches(matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let terminal = Terminal::new(cli.color);
    let exit = match cli.command {
        Command::Node(node) => {
            let given = matches.subcommand_matches("node");
            node.run(given.unwrap_or(matches), terminal)
        }
        Command::Witness(witness) => {
            let given = matches.subcommand_matches("witness");
            witness.run(given.unwrap_or(matches), terminal)
        }
        Command::Operator(operator) => {
            let given = matches.subcommand_matches("operator");
            operator.run(given.unwrap_or(matches), terminal)
        }
        Command::Local(local) => local.run(terminal),
        Command::Status(status) => status.run(terminal),
        Command::Transfer(transfer) => transfer.run(),
        Command::Members(members) => members.run(),
        Command::Kv(kv) => kv.run(),
        Command::Snapshot(snapshot) => snapshot.run(),
        Command::Recover(recover) => recover.run(),
        Command::Bench(bench) => bench.run(),
        Command::Hello(hello) => hello.run(),
        Command::Ask(ask) => ask.run(),
        Command::Certs(certs) => certs.run(),
        Command::Crd => crd::print(),
        Command::Completion(completion) => completion.run(&mut Cli::command()),
        Command::Version => version(),
    }?;
    std::io::stdout().flush()?;
    Ok(exit)
}

/// Prints what clap has to say: help to stdout, or what is wrong to stderr.
fn usage(error: &clap::Error) -> anyhow::Result<Exit> {
    error.print()?;
    Ok(if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    })
}

fn version() -> anyhow::Result<Exit> {
    writeln!(std::io::stdout(), "remember {}", env!("CARGO_PKG_VERSION"))?;
    Ok(Exit::Done)
}
