//! The command line, parsed into types: what passes here is well-formed.

mod calendar;
mod systems;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fasti_core::command::Object;
use fasti_core::policy::PolicyKind;
use fasti_core::statement::Role;
use jiff::civil::{Date, DateTime};
use jiff::{Span, SpanRelativeTo};
use serde_json::Value;

pub use self::calendar::*;
pub use self::systems::*;

/// A policy calendar that every office holds.
///
/// One office founds the network and invites the others; then each runs its node:
///
///   fasti init --office Denver && fasti run
///   fasti invite --office Boston                  (in Denver: prints a ticket)
///   fasti join TICKET && fasti run                (in Boston)
///   fasti publish policy_start --policy YSP-2024 --start 2024-04-01
#[derive(Debug, Parser)]
#[command(name = "fasti", version, verbatim_doc_comment)]
pub struct Cli {
    /// The node's folder [default: "fasti" in the platform's data folder, such as ~/.local/share]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print facts as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub call: Call,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Call {
    /// Found a network, with this office as its first admin and approver; print the network's id
    Init(InitArgs),
    /// Print a ticket with which an office can join; it can be used once, and expires
    Invite(InviteArgs),
    /// Become a member of the network that the ticket is for
    Join {
        /// The line that `fasti invite` printed; - reads it from standard input, where nobody else on this
        /// machine sees it
        ticket: Secret,
    },
    /// Run the node, until SIGTERM or Ctrl-C
    Run(RunArgs),
    /// Show who belongs to the network, and who holds all that this node holds
    Members {
        /// Show those who were members and are no more
        #[arg(long)]
        former: bool,
    },
    /// End an office's membership, for ever; for admins, and for an office that leaves
    ///
    /// It is cut off at once, and its key and its open tickets are worth nothing any more. What it wrote stays, as
    /// far as this node has it or others have built upon it.
    Remove {
        /// Its name, or the beginning of its id
        office: String,
    },
    /// Let this office go on under a new key, for when the old one may have been seen; the node must run
    ///
    /// The new key is used from the node's next start on, and makes the old one worth nothing. If
    /// somebody else has the old key already, have an admin remove the office and invite it again.
    RotateKey,
    /// Publish a policy event
    ///
    /// Publishing the same policy again updates it:
    ///
    ///   fasti publish policy_start --policy YSP-2024 --start 2024-04-01 --title "Youth sports"
    ///   fasti publish policy_update --policy YSP-2024 --data '{"budget": 12000}'
    ///   fasti publish policy_end --policy YSP-2024 --end 2024-12-31
    #[command(verbatim_doc_comment)]
    Publish(PublishArgs),
    /// Add, show, list, edit and cancel events
    Event {
        /// What to do with events.
        #[command(subcommand)]
        call: EventCall,
    },
    /// Show what takes place, day by day
    ///
    ///   fasti agenda
    ///   fasti agenda --from 2024-04-01 --to 2024-04-30 --zone America/Denver
    #[command(verbatim_doc_comment)]
    Agenda(AgendaArgs),
    /// Rooms, people and vehicles that can be booked
    ///
    ///   fasti resource add "Room 1" --buffer 10m
    ///   fasti resource add Van --kind vehicle --stakeholders Denver,Boston
    ///   fasti resource list
    ///   fasti resource edit "Room 1" --capacity 2
    #[command(verbatim_doc_comment)]
    Resource {
        /// What to do with them.
        #[command(subcommand)]
        call: ResourceCall,
    },
    /// Book a resource, for a new event or one that is there
    ///
    /// A booking of one's own room is settled at once. What is displaced says who has the time, and when it is
    /// free next; `fasti event cancel UID` gives a booking up.
    ///
    ///   fasti book "Room 1" --start 2024-05-06T09:00 --duration PT1H --title Round --time-zone America/Denver
    ///   fasti book Van --event UID
    #[command(verbatim_doc_comment)]
    Book(BookArgs),
    /// Show bookings, and what is final of them
    Bookings(BookingsArgs),
    /// Show when a resource is free
    Free(FreeArgs),
    /// Show policies and their approval: all of them, or one
    Policies {
        /// The publisher's number for it, such as YSP-2024
        policy: Option<String>,
    },
    /// Ask approvers to approve a policy as it stands
    Propose(ApprovalArgs),
    /// Approve a policy as it stands, and sign that; for approvers
    ///
    ///   fasti approve YSP-2024
    ///   fasti approve YSP-2025 --supersedes YSP-2024
    #[command(verbatim_doc_comment)]
    Approve {
        /// Which policy.
        #[command(flatten)]
        args: ApprovalArgs,
        /// A policy that it takes the place of; may be repeated
        #[arg(long, value_name = "POLICY")]
        supersedes: Vec<String>,
    },
    /// End what was proposed or approved; for approvers, and for who proposed it
    Withdraw {
        /// The publisher's number for it
        policy: String,
    },
    /// Report which versions of policies were approved, who wrote them, and which offices held them
    ///
    ///   fasti report
    ///   fasti report --policy YSP-2024 --as-of 2024-04-01
    ///   fasti report --format html > report.html
    ///   fasti report --format bundle > report.fasti     (proves itself: see fasti verify)
    ///
    /// A bundle holds all that was written until then, also what the report isn't about: whoever has it can read the
    /// whole calendar.
    #[command(verbatim_doc_comment)]
    Report(ReportArgs),
    /// Check a report that proves itself, on any machine: without a node, a folder or the network
    ///
    ///   fasti verify report.fasti
    ///   fasti verify report.fasti --network 1f0c...
    ///
    /// Checks all signatures, judges all entries anew as a node does, and makes the report of them, which must be
    /// the one in the file. Trusts nothing but the network's id: compare it with the one that you know.
    #[command(verbatim_doc_comment)]
    Verify(VerifyArgs),
    /// Import events and tasks from an iCalendar file (.ics)
    ///
    /// Events that are there are changed where the file differs. What can't be read is named, and the rest
    /// is imported.
    ///
    ///   fasti import holidays.ics --calendar holidays
    #[command(verbatim_doc_comment)]
    Import(ImportArgs),
    /// Write events and tasks as an iCalendar file (.ics)
    ///
    ///   fasti export > all.ics
    ///   fasti export --calendar policies --output policies.ics
    #[command(verbatim_doc_comment)]
    Export(ExportArgs),
    /// Show what needs a person, and decide it: fields edited two ways, displaced bookings, edits of what was
    /// cancelled or approved, offices that signed two histories
    ///
    ///   fasti conflicts
    ///   fasti conflicts resolve 3f9a --keep "Room 2"
    #[command(verbatim_doc_comment)]
    Conflicts {
        /// What to do with them.
        #[command(subcommand)]
        call: Option<ConflictsCall>,
    },
    /// Deliver changes to an external system, from now on or from the beginning
    ///
    /// Each event's newest state is delivered, at least once, until the system confirms it. Prints the secret that
    /// deliveries are signed with.
    ///
    ///   fasti subscribe CRM https://crm.example.org/fasti
    ///   fasti subscribe Rooms https://rooms.example.org/hook --calendars rooms --from beginning
    #[command(verbatim_doc_comment)]
    Subscribe(Box<SubscribeArgs>),
    /// Show, edit, pause, resume, test and remove what `fasti subscribe` made
    ///
    ///   fasti subscriptions
    ///   fasti subscriptions pause CRM
    ///   fasti subscriptions test CRM
    #[command(verbatim_doc_comment)]
    Subscriptions {
        /// What to do with them; nothing shows all.
        #[command(subcommand)]
        call: Option<SubscriptionsCall>,
    },
    /// Show what external systems are owed, and what they confirmed
    Deliveries(DeliveriesArgs),
    /// Deliver again: what was given up, one event, or all since then
    ///
    ///   fasti replay CRM
    ///   fasti replay CRM --from 2024-04-01 --to 2024-04-08
    ///   fasti replay CRM --event policy-YSP-2024
    ///   fasti replay CRM --since beginning
    #[command(verbatim_doc_comment)]
    Replay(ReplayArgs),
    /// Give people app passwords, for calendar apps and the HTTP API
    ///
    /// A password is printed once, and kept as a hash. It is good at this node, and for what an office may
    /// do; members and users are managed with the node's token alone.
    User {
        /// What to do with users.
        #[command(subcommand)]
        call: UserCall,
    },
    /// Show the node at a glance, or how far a policy has come
    ///
    ///   fasti status
    ///   fasti status --policy YSP-2024      (which offices hold it, and which systems confirmed it)
    #[command(verbatim_doc_comment)]
    Status {
        /// The publisher's number for it, or an event's uid
        #[arg(long)]
        policy: Option<String>,
    },
    /// Write all that this office needs to go on elsewhere into one file, while its node runs or not
    ///
    ///   fasti backup denver.backup
    ///   fasti backup - | ssh vault 'cat > denver.backup'
    ///
    /// The file holds the office's secret key: whoever has it is the office.
    #[command(verbatim_doc_comment)]
    Backup(BackupArgs),
    /// Make a node's folder from a backup, here or on another machine
    ///
    ///   fasti restore --check denver.backup
    ///   fasti restore denver.backup --dir D && fasti run --dir D
    ///
    /// Stop the node that the backup is of first, for good: two nodes with one key disturb each other.
    #[command(verbatim_doc_comment)]
    Restore(RestoreArgs),
    /// Print a script that lets a shell complete calls and options
    ///
    ///   fasti completions bash > ~/.local/share/bash-completion/completions/fasti
    ///   fasti completions zsh > ~/.zfunc/_fasti            (with ~/.zfunc in fpath)
    ///   fasti completions fish > ~/.config/fish/completions/fasti.fish
    #[command(verbatim_doc_comment)]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page of a call, or write those of all calls into a folder
    ///
    ///   fasti man | man -l -
    ///   fasti man event add | man -l -
    ///   fasti man --output ~/.local/share/man/man1
    #[command(verbatim_doc_comment)]
    Man(ManArgs),
}

/// `fasti man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The call, such as event add [default: the page about fasti itself]
    #[arg(value_name = "CALL", conflicts_with = "output")]
    pub call: Vec<String>,
    /// The folder for all pages; it is made if need be
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// `fasti backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write, or (-) standard output
    pub file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// `fasti restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What `fasti backup` wrote
    pub file: PathBuf,
    /// Only say whether the backup is whole, and what is in it
    #[arg(long)]
    pub check: bool,
}

/// A text that must not be shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// `fasti init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// What people call this office
    #[arg(long, value_name = "NAME")]
    pub office: String,
}

/// `fasti invite`
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// What people call the new office
    #[arg(long, value_name = "NAME")]
    pub office: String,
    /// What it may do: admin, approver, office or auditor; repeat for several [default: office]
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<Role>,
    /// How long the ticket can be used, such as 30m, 24h or 7d
    #[arg(long, default_value = "24h", value_parser = ttl_s, value_name = "DURATION")]
    pub ttl: u64,
}

/// `fasti run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where to listen for other offices, such as /ip4/0.0.0.0/udp/4001/quic-v1; port 0 picks a free
    /// one; repeat for several
    #[arg(long, value_name = "MULTIADDR")]
    pub listen: Vec<String>,
    /// An address at which others reach this node besides those it listens at, such as
    /// /dns4/office.example.org/tcp/8378, where a router forwards the port; repeat for several
    #[arg(long, value_name = "MULTIADDR")]
    pub announce: Vec<String>,
    /// Relay between offices that can't reach each other directly, because of NAT; this node needs an
    /// address that all of them can reach
    #[arg(long)]
    pub relay: bool,
    /// Deliver to external systems at public addresses alone: not to this machine, nor within private networks
    #[arg(long)]
    pub public_targets_only: bool,
    /// Where to serve HTTP; port 0 picks a free one. On another address than this machine's own (127.0.0.1,
    /// ::1) it is HTTPS, with a certificate that the node makes unless --tls-cert names one
    #[arg(long, default_value = "127.0.0.1:8377", value_name = "ADDR")]
    pub http: SocketAddr,
    /// The certificate for HTTPS, with those that it was issued by, in PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A name, besides localhost, under which people ask for this node, such as calendar.example.org;
    /// repeat for several
    #[arg(long = "http-name", value_name = "NAME", value_parser = host_name)]
    pub http_names: Vec<String>,
    /// Serve plain HTTP on any address, for a proxy that ends TLS and says in X-Forwarded-For who asks.
    /// DANGER: whoever reaches that address without the proxy sends tokens and passwords in clear, and can
    /// say to be anyone; let a firewall admit the proxy alone
    #[arg(long, conflicts_with = "tls_cert")]
    pub http_behind_proxy: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What to log, such as info or fasti_net=debug,info
    #[arg(long, default_value = "warn,fasti=info", value_name = "FILTER")]
    pub log: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON object a line.
    Json,
}

/// `fasti user`
#[derive(Debug, Subcommand)]
pub enum UserCall {
    /// Print a new app password for a person; it is shown this once
    Add {
        /// What they log in as
        name: String,
    },
    /// List who has an app password
    List,
    /// Take a person's app password back; it ends at once
    Remove {
        /// What they log in as
        name: String,
    },
}

/// A host with or without a port, as it stands in URLs.
fn host_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        return Ok(text.into());
    }
    Err("expected a host such as calendar.example.org, or with its port, in ASCII (xn--…)".into())
}

/// JSON, or else a string.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn object(text: &str) -> Result<Object, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("expected a JSON object, such as {{\"key\": 1}}: {error}"))
}

/// Keys are escaped as in JSON Pointers (RFC 6901): `~1` is a slash, `~0` a tilde.
fn assignment(text: &str) -> Result<Assignment, String> {
    let (path, text) = text.split_once('=').ok_or("expected PATH=VALUE, such as title=Retreat")?;
    let path: Vec<String> =
        path.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
    if path.iter().any(String::is_empty) {
        return Err("the path has an empty key; expected one such as locations/1/name".into());
    }
    Ok(Assignment { path, value: value(text) })
}

/// A day, or a local date-time with seconds.
fn moment(text: &str) -> Result<String, String> {
    if text.len() == 10 && text.parse::<Date>().is_ok() {
        return Ok(text.into());
    }
    match text.parse::<DateTime>() {
        Ok(moment) if text.len() > 10 => Ok(moment.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
        _ => {
            Err("expected a day or a local date-time, such as 2024-05-06 or 2024-05-06T09:00"
                .into())
        }
    }
}

/// Whole seconds, from 1 on.
fn ttl_s(text: &str) -> Result<u64, String> {
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|duration| u64::try_from(duration.as_secs()).ok())
        .filter(|&seconds| seconds > 0)
        .ok_or_else(|| "expected a duration such as 30m, 24h or 7d".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["fasti"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_all_calls_stand_anywhere() {
        for line in ["--dir d --json status", "status --json --dir d", "event list --dir d --json"]
        {
            let cli = parse(line).unwrap();
            assert_eq!((cli.dir, cli.json), (Some("d".into()), true), "{line}");
        }
    }

    #[test]
    fn run_has_defaults_that_are_safe() {
        let Call::Run(run) = parse("run").unwrap().call else { panic!() };
        assert_eq!(run.http.to_string(), "127.0.0.1:8377");
        assert_eq!((run.listen.len(), run.log_format), (0, LogFormat::Human));
        let line = "run --listen /ip4/0.0.0.0/tcp/1 --listen /ip6/::/tcp/1 --http 127.0.0.1:0 --log-format json";
        let Call::Run(run) = parse(line).unwrap().call else { panic!() };
        assert_eq!((run.listen.len(), run.log_format), (2, LogFormat::Json));
        assert!(!run.http_behind_proxy && run.tls_cert.is_none());
    }

    #[test]
    fn wrong_usage_is_told_before_anything_is_asked() {
        for line in [
            "",
            "nonsense",
            "init",
            "invite --office B --role king",
            "invite --office B --ttl 0s",
            "publish policy_begin --policy A",
            "publish policy_start --policy A --start 2024-02-30",
            "publish policy_update --policy A --data [1]",
            "event add --title A",
            "event add --title A --start tomorrow",
            "event add --title A --start 2024-05-06 --json-event -",
            "event edit a",
            "event edit a title",
            "event edit a /title=x",
            "event edit a title=x --merge {}",
            "conflicts resolve a",
            "run --tls-cert a",
            "run --tls-key a",
            "run --tls-cert a --tls-key b --http-behind-proxy",
            "run --http-name https://a/",
            "user add",
            "backup",
            "restore --check",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn values_are_json_or_else_strings() {
        let edit = |text| assignment(text).unwrap();
        assert_eq!(edit("title=All hands").value, json!("All hands"));
        assert_eq!(edit("priority=3").value, json!(3));
        assert_eq!(edit("title=\"3\"").value, json!("3"));
        assert_eq!(edit("title=null").value, Value::Null);
        assert_eq!(edit("links/a~1b/title=a=b").path, ["links", "a/b", "title"]);
        assert_eq!(edit("links/a~1b/title=a=b").value, json!("a=b"));
        assert_eq!(moment("2024-05-06").unwrap(), "2024-05-06");
        assert_eq!(moment("2024-05-06T09:00").unwrap(), "2024-05-06T09:00:00");
        assert_eq!((ttl_s("30m"), ttl_s("7d")), (Ok(1800), Ok(7 * 86_400)));
    }
}
