//! Calls about what is in the calendar: events, policies, resources and bookings, reports.

use super::*;

/// `fasti publish`
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// policy_start, policy_update, policy_end or policy_cancel
    #[arg(value_name = "TYPE")]
    pub kind: PolicyKind,
    /// The policy's id, such as YSP-2024
    #[arg(long, value_name = "ID")]
    pub policy: String,
    /// Its first day, as YYYY-MM-DD; needed for policy_start
    #[arg(long, value_name = "DATE")]
    pub start: Option<Date>,
    /// Its last day, as YYYY-MM-DD; needed for policy_end
    #[arg(long, value_name = "DATE")]
    pub end: Option<Date>,
    /// What people call it
    #[arg(long)]
    pub title: Option<String>,
    /// Whatever else there is to say: a JSON object
    #[arg(long, value_parser = object, value_name = "JSON")]
    pub data: Option<Object>,
}

/// `fasti event`
#[derive(Debug, Subcommand)]
pub enum EventCall {
    /// Add an event
    ///
    ///   fasti event add --title Retreat --start 2024-05-06 --duration P2D
    ///   fasti event add --title Call --start 2024-05-06T09:00 --duration PT1H --time-zone America/Denver
    ///   fasti event add --json-event event.json
    #[command(verbatim_doc_comment)]
    Add(AddArgs),
    /// Show an event, with the etag that `--if-match` takes
    Show {
        /// The event's uid
        uid: String,
    },
    /// List events by their start; between two ends, each of their occurrences
    ///
    ///   fasti event list --from 2024-04-01 --to 2024-04-30
    #[command(verbatim_doc_comment)]
    List {
        /// Only events that end after this day or local date-time
        #[arg(long, value_parser = moment, value_name = "LOCAL")]
        from: Option<String>,
        /// Only events that start on or before this day, or before this local date-time
        #[arg(long, value_parser = moment, value_name = "LOCAL")]
        to: Option<String>,
    },
    /// Change fields of an event
    ///
    /// A path leads to a field of the event (JSCalendar, RFC 8984) through slashes. A value is JSON, or
    /// else a string; null removes the field:
    ///
    ///   fasti event edit UID title="All hands" locations/1/name="Room 2"
    ///   fasti event edit UID 'keywords={"budget": true}' description=null
    ///   fasti event edit UID --merge '{"title": "All hands"}'
    #[command(verbatim_doc_comment)]
    Edit(EditArgs),
    /// Cancel an event: its status becomes "cancelled"
    Cancel {
        /// The event's uid
        uid: String,
        /// Only if the event's etag is still this one
        #[arg(long, value_name = "ETAG")]
        if_match: Option<String>,
    },
}

/// `fasti event add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What people call it
    #[arg(long, required_unless_present = "json_event")]
    pub title: Option<String>,
    /// When it begins: a day, or a local date-time such as 2024-05-06T09:00
    #[arg(long, required_unless_present = "json_event", value_parser = moment, value_name = "LOCAL")]
    pub start: Option<String>,
    /// How long it takes, in ISO 8601: P1D is a day, PT1H30M an hour and a half [default: P1D for days]
    #[arg(long)]
    pub duration: Option<String>,
    /// The time zone of its start, such as America/Denver [default: wherever one is]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// The calendar that it belongs to
    #[arg(long)]
    pub calendar: Option<String>,
    /// The whole event in JSCalendar, from a file or (-) from standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["title", "start", "duration", "time_zone", "calendar"])]
    pub json_event: Option<PathBuf>,
}

/// `fasti resource`
#[derive(Debug, Subcommand)]
pub enum ResourceCall {
    /// Add something that can be booked
    Add {
        /// As people call it
        name: String,
        /// What it is
        #[command(flatten)]
        terms: TermsArgs,
        /// The offices whose word counts, by name or id, with commas between them [default: this one alone]
        #[arg(long, value_delimiter = ',', value_name = "OFFICE")]
        stakeholders: Vec<String>,
    },
    /// List them
    List,
    /// Change one; capacity and buffers bind later bookings only
    Edit {
        /// Its name or id
        resource: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// What it is
        #[command(flatten)]
        terms: TermsArgs,
        /// Propose an office that gets a say; all that have one must accept it
        #[arg(long, value_name = "OFFICE")]
        add: Option<String>,
        /// Propose that an office has no say any more, such as one that is lost; for admins. If it is the only one
        /// that has a say and only cut off, this can void what it believes settled
        #[arg(long, value_name = "OFFICE")]
        dismiss: Option<String>,
    },
    /// Accept a change of who has a say
    Accept {
        /// The resource's name or id
        resource: String,
        /// The proposal's id: `fasti resource list --json` shows it
        proposal: String,
    },
}

/// What a resource is.
#[derive(Debug, Args)]
pub struct TermsArgs {
    /// room, person or vehicle [default: room]
    #[arg(long)]
    pub kind: Option<String>,
    /// How many bookings it takes at a time [default: 1]
    #[arg(long)]
    pub capacity: Option<u32>,
    /// Time that it needs before and after each booking, such as 10m
    #[arg(long, value_parser = ttl_s, value_name = "TIME")]
    pub buffer: Option<u64>,
}

/// `fasti book`
#[derive(Debug, Args)]
pub struct BookArgs {
    /// The resource's name or id
    pub resource: String,
    /// An event that is there, by its uid: it is booked for when it takes place
    #[arg(long, value_name = "UID")]
    pub event: Option<String>,
    /// When a new event begins, such as 2024-05-06T09:00
    #[arg(long, required_unless_present = "event", conflicts_with = "event", value_parser = moment, value_name = "LOCAL")]
    pub start: Option<String>,
    /// How long it takes, in ISO 8601
    #[arg(long, conflicts_with = "event", default_value = "PT1H")]
    pub duration: String,
    /// What people call it
    #[arg(long, required_unless_present = "event", conflicts_with = "event")]
    pub title: Option<String>,
    /// The time zone of its start [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
}

/// `fasti bookings`
#[derive(Debug, Args)]
pub struct BookingsArgs {
    /// Only of this resource, by name or id
    pub resource: Option<String>,
    /// Only those in this state: tentative, settled, displaced or cancelled
    #[arg(long)]
    pub state: Option<String>,
    /// The time zone to tell times in [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// `fasti free`
#[derive(Debug, Args)]
pub struct FreeArgs {
    /// The resource's name or id
    pub resource: String,
    /// From this day or local date-time on [default: today]
    #[arg(long, value_parser = moment, value_name = "LOCAL")]
    pub from: Option<String>,
    /// To this day, or until this local date-time [default: the same day]
    #[arg(long, value_parser = moment, value_name = "LOCAL")]
    pub to: Option<String>,
    /// The time zone to ask and to tell times in [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// `fasti agenda`
#[derive(Debug, Args)]
pub struct AgendaArgs {
    /// The first day, or a local date-time [default: today]
    #[arg(long, value_parser = moment, value_name = "LOCAL")]
    pub from: Option<String>,
    /// The last day, or a local date-time [default: six days later]
    #[arg(long, value_parser = moment, value_name = "LOCAL")]
    pub to: Option<String>,
    /// The time zone to tell times in [default: this machine's]
    #[arg(long)]
    pub zone: Option<String>,
    /// Only events of this calendar
    #[arg(long)]
    pub calendar: Option<String>,
}

/// `fasti propose` and `fasti approve`
#[derive(Debug, Args)]
pub struct ApprovalArgs {
    /// The publisher's number for it, or the uid of any other event
    pub policy: String,
    /// Only if the etag of its event is still this one: what was looked at is what is signed
    #[arg(long, value_name = "ETAG")]
    pub if_match: Option<String>,
}

/// `fasti report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// One policy [default: all of them]
    #[arg(long)]
    pub policy: Option<String>,
    /// A day (its end, in UTC), a moment such as 2024-04-01T09:00:00Z, or hashes of entries with commas between
    /// them [default: all that this node holds]
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// In which shape
    #[arg(long, default_value = "text")]
    pub format: ReportFormat,
}

/// The shapes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For the terminal.
    Text,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
    /// A page to print.
    Html,
    /// A file that proves itself: with all entries and signatures that the report follows from.
    Bundle,
}

/// `fasti verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What `fasti report --format bundle` wrote, or (-) standard input
    pub file: PathBuf,
    /// Fail unless it is about this network
    #[arg(long, value_name = "ID")]
    pub network: Option<String>,
}

/// `fasti import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file; - reads it from standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The calendar that its events go into [default: the one that they are in, or none]
    #[arg(long)]
    pub calendar: Option<String>,
    /// Only say what would be imported, and what can't be read
    #[arg(long)]
    pub dry_run: bool,
}

/// `fasti export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Only events of this calendar
    #[arg(long)]
    pub calendar: Option<String>,
    /// The file [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `fasti event edit`
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The event's uid
    pub uid: String,
    /// Fields and their new values
    #[arg(value_name = "PATH=VALUE", value_parser = assignment, required_unless_present = "merge")]
    pub assignments: Vec<Assignment>,
    /// A JSON Merge Patch (RFC 7396) instead
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with = "assignments")]
    pub merge: Option<Object>,
    /// Only if the event's etag is still this one
    #[arg(long, value_name = "ETAG")]
    pub if_match: Option<String>,
}

/// A field and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The keys that lead to the field.
    pub path: Vec<String>,
    /// Null removes it.
    pub value: Value,
}

/// `fasti conflicts`
#[derive(Debug, Subcommand)]
pub enum ConflictsCall {
    /// Decide a conflict
    Resolve {
        /// The conflict's id
        id: String,
        /// One of the choices that `fasti conflicts` shows; of a field any value: JSON, or else a string; null
        /// for none
        #[arg(long, allow_hyphen_values = true, value_parser = |text: &str| Ok::<_, String>(value(text)))]
        keep: Value,
    },
}
