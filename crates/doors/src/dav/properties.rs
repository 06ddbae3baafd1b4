//! Properties of what is under `/dav/`: RFC 4918 (section 15), 3744, 4791, 5397, 6578 and 6638, and those of Apple that
//! calendar apps ask for.

use fasti_core::collection::DEFAULT_CALENDAR;
use fasti_core::entry::BODY_BYTES_MAX;
use jiff::Timestamp;
use serde_json::Value;

use super::data::Wanted;
use super::filter::COLLATIONS;
use super::path::Target;
use super::shelf::{Calendar, Shelf};
use super::xml::{APPLE, CALDAV, CALENDARSERVER, DAV, Name, Xml};

/// The member of a calendar's Group with properties that mean nothing here.
pub(crate) const DEAD: &str = "fasti:properties";
/// Its order among others.
pub(crate) const ORDER: &str = "fasti:order";
/// Its time zone, in iCalendar.
pub(crate) const TIME_ZONE: &str = "fasti:timeZone";
/// Which components it was made for.
pub(crate) const COMPONENTS: &str = "fasti:components";
/// Whether it takes time: `transparent` or `opaque`.
pub(crate) const TRANSPARENCY: &str = "fasti:transparency";

/// Whose eyes see properties.
pub(crate) struct View<'a> {
    pub(crate) shelf: &'a Shelf,
    /// Who asks.
    pub(crate) person: &'a str,
    /// All who may.
    pub(crate) people: &'a [String],
    /// How `calendar-data` is wanted, where it was asked for.
    pub(crate) wanted: Option<&'a Wanted>,
    pub(crate) zone: &'a fasti_calendar::Zone,
}

/// Those that a resource has, besides its dead ones; those with `false` only by name (RFC 4918, section 9.1).
const COMMON: [(&str, &str, bool); 11] = [
    (DAV, "resourcetype", true),
    (DAV, "displayname", true),
    (DAV, "creationdate", true),
    (DAV, "getlastmodified", true),
    (DAV, "lockdiscovery", true),
    (DAV, "supportedlock", true),
    (DAV, "owner", false),
    (DAV, "current-user-principal", false),
    (DAV, "current-user-privilege-set", false),
    (DAV, "principal-collection-set", false),
    (DAV, "supported-report-set", false),
];
const OF_PRINCIPAL: [(&str, &str, bool); 9] = [
    (DAV, "principal-URL", false),
    (DAV, "alternate-URI-set", false),
    (DAV, "group-member-set", false),
    (DAV, "group-membership", false),
    (CALDAV, "calendar-home-set", false),
    (CALDAV, "calendar-user-address-set", false),
    (CALDAV, "calendar-user-type", false),
    (CALDAV, "schedule-inbox-URL", false),
    (CALDAV, "schedule-outbox-URL", false),
];
const OF_CALENDAR: [(&str, &str, bool); 14] = [
    (DAV, "sync-token", false),
    (DAV, "supported-privilege-set", false),
    (DAV, "acl", false),
    (CALENDARSERVER, "getctag", false),
    (CALDAV, "supported-calendar-component-set", false),
    (CALDAV, "supported-calendar-data", false),
    (CALDAV, "supported-collation-set", false),
    (CALDAV, "max-resource-size", false),
    (CALDAV, "calendar-description", false),
    (CALDAV, "calendar-timezone", false),
    (CALDAV, "schedule-calendar-transp", false),
    (APPLE, "calendar-color", false),
    (APPLE, "calendar-order", false),
    (CALDAV, "max-instances", false),
];
const OF_OBJECT: [(&str, &str, bool); 3] =
    [(DAV, "getetag", true), (DAV, "getcontenttype", true), (DAV, "getcontentlength", true)];

impl View<'_> {
    /// Whether there is such a thing.
    pub(crate) fn has(&self, target: &Target) -> bool {
        match target {
            Target::Root | Target::Principals | Target::Home => true,
            Target::Principal(name) | Target::Inbox(name) | Target::Outbox(name) => {
                name == self.person || self.people.contains(name)
            }
            Target::Calendar(id) => self.shelf.calendar(id).is_some(),
            Target::Object(id, name) => self.shelf.item(id, name).is_some(),
        }
    }

    /// What is directly in it.
    pub(crate) fn members(&self, target: &Target) -> Vec<Target> {
        match target {
            Target::Root => vec![Target::Principals, Target::Home],
            Target::Principals => {
                let mut names: Vec<&String> = self.people.iter().collect();
                let person = self.person.to_owned();
                if !names.contains(&&person) {
                    names.push(&person);
                }
                names.into_iter().map(|it| Target::Principal(it.clone())).collect()
            }
            Target::Principal(name) => {
                vec![Target::Inbox(name.clone()), Target::Outbox(name.clone())]
            }
            Target::Home => {
                self.shelf.calendars().map(|(id, _)| Target::Calendar(id.into())).collect()
            }
            Target::Calendar(id) => {
                let items = self.shelf.calendar(id).into_iter().flat_map(Calendar::items);
                items.map(|it| Target::Object(id.clone(), it.place.name.clone())).collect()
            }
            Target::Inbox(_) | Target::Outbox(_) | Target::Object(..) => Vec::new(),
        }
    }

    /// The names of what it has; with `all`, only of what is told without being named.
    pub(crate) fn names(&self, target: &Target, all: bool) -> Vec<Name> {
        let own: &[(&str, &str, bool)] = match target {
            Target::Principal(_) => &OF_PRINCIPAL,
            Target::Calendar(_) => &OF_CALENDAR,
            Target::Object(..) => &OF_OBJECT,
            _ => &[],
        };
        let live = COMMON.iter().chain(own).filter(|it| !all || it.2);
        let mut names: Vec<Name> = live
            .map(|(space, local, _)| Name::new(space, local))
            .filter(|name| self.value(target, name).is_some())
            .collect();
        if let Target::Calendar(id) = target
            && let Some(calendar) = self.shelf.calendar(id)
        {
            let dead = calendar.about.get(DEAD).and_then(Value::as_object).into_iter().flatten();
            names.extend(dead.filter_map(|(key, _)| dead_name(key)));
        }
        names
    }

    /// A property's value, which is XML; none if the resource has no such property.
    pub(crate) fn value(&self, target: &Target, name: &Name) -> Option<String> {
        let Name { space, local } = name;
        let mut xml = Xml::fragment();
        let found = match (space.as_str(), local.as_str()) {
            (DAV, local) => self.of_dav(target, local, &mut xml),
            (CALDAV, local) => self.of_caldav(target, local, &mut xml),
            (CALENDARSERVER, "getctag") => self.of_dav(target, "sync-token", &mut xml),
            (APPLE, local) => {
                let calendar = self.calendar(target)?;
                match local {
                    "calendar-color" => say(&mut xml, calendar.about("color")),
                    "calendar-order" => {
                        say(&mut xml, calendar.about.get(ORDER).map(Value::to_string).as_deref())
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        match found {
            Some(()) => Some(xml.text),
            None => {
                let dead = self.calendar(target)?.about.get(DEAD)?;
                dead.get(dead_key(name))?.as_str().map(str::to_owned)
            }
        }
    }

    fn calendar(&self, target: &Target) -> Option<&Calendar> {
        match target {
            Target::Calendar(id) => self.shelf.calendar(id),
            _ => None,
        }
    }

    fn of_dav(&self, target: &Target, local: &str, xml: &mut Xml) -> Option<()> {
        let item = match target {
            Target::Object(id, name) => Some(self.shelf.item(id, name)?),
            _ => None,
        };
        match local {
            "resourcetype" => {
                if item.is_none() {
                    xml.empty("d:collection");
                }
                match target {
                    Target::Principal(_) => xml.empty("d:principal"),
                    Target::Calendar(_) => xml.empty("c:calendar"),
                    Target::Inbox(_) => xml.empty("c:schedule-inbox"),
                    Target::Outbox(_) => xml.empty("c:schedule-outbox"),
                    Target::Root | Target::Principals | Target::Home | Target::Object(..) => {}
                }
            }
            "displayname" => match target {
                Target::Principal(name) => xml.say(name),
                Target::Calendar(id) => xml.say(self.shelf.calendar(id)?.display_name(id)),
                Target::Home => xml.say("Calendars"),
                Target::Object(..) => xml.say(item?.member("title")?),
                _ => return None,
            },
            "getetag" => xml.say(&format!("\"{}\"", item?.etag)),
            "getcontenttype" => xml.say(content_type(item?.is_task())),
            "getcontentlength" => xml.say(&item?.text().len().to_string()),
            "getlastmodified" => {
                let at: Timestamp = item?.member("updated")?.parse().ok()?;
                xml.say(&http_date(at));
            }
            "creationdate" => xml.say(item?.member("created")?),
            "lockdiscovery" | "supportedlock" | "alternate-URI-set" | "group-member-set"
            | "group-membership" => {}
            "owner" => match target {
                Target::Principal(name) | Target::Inbox(name) | Target::Outbox(name) => {
                    href(xml, &Target::Principal(name.clone()));
                }
                _ => href(xml, &self.principal()),
            },
            "current-user-principal" => href(xml, &self.principal()),
            "principal-URL" => match target {
                Target::Principal(_) => href(xml, target),
                _ => return None,
            },
            "principal-collection-set" => href(xml, &Target::Principals),
            "current-user-privilege-set" => {
                for privilege in self.privileges(target) {
                    xml.open("d:privilege");
                    xml.empty(privilege);
                    xml.close("d:privilege");
                }
            }
            "supported-privilege-set" => supported_privileges(xml),
            "acl" => {
                xml.open("d:ace");
                xml.open("d:principal");
                xml.empty("d:authenticated");
                xml.close("d:principal");
                xml.open("d:grant");
                for privilege in self.privileges(target) {
                    xml.open("d:privilege");
                    xml.empty(privilege);
                    xml.close("d:privilege");
                }
                xml.close("d:grant");
                xml.empty("d:protected");
                xml.close("d:ace");
            }
            "supported-report-set" => {
                for report in reports(target) {
                    xml.open("d:supported-report");
                    xml.open("d:report");
                    xml.empty(report);
                    xml.close("d:report");
                    xml.close("d:supported-report");
                }
            }
            "sync-token" => match target {
                Target::Calendar(_) => xml.say(&super::sync::Token::now(self.shelf).to_string()),
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    }

    fn of_caldav(&self, target: &Target, local: &str, xml: &mut Xml) -> Option<()> {
        match (target, local) {
            (Target::Object(id, name), "calendar-data") => {
                let item = self.shelf.item(id, name)?;
                match self.wanted {
                    Some(wanted) => xml.say(&wanted.of(item, self.shelf, self.zone).ok()?),
                    None => xml.say(item.text()),
                }
            }
            (Target::Principal(_), "calendar-home-set") => href(xml, &Target::Home),
            (Target::Principal(name), "schedule-inbox-URL") => {
                href(xml, &Target::Inbox(name.clone()));
            }
            (Target::Principal(name), "schedule-outbox-URL") => {
                href(xml, &Target::Outbox(name.clone()));
            }
            (Target::Principal(name), "calendar-user-address-set") => {
                href(xml, &Target::Principal(name.clone()));
            }
            (Target::Principal(_), "calendar-user-type") => xml.say("INDIVIDUAL"),
            (Target::Inbox(_), "schedule-default-calendar-URL") => {
                href(xml, &Target::Calendar(DEFAULT_CALENDAR.into()));
            }
            (Target::Inbox(_), "calendar-free-busy-set") => {
                self.members(&Target::Home).iter().for_each(|it| href(xml, it));
            }
            (Target::Calendar(_) | Target::Home, "supported-calendar-component-set") => {
                let told = self.calendar(target).and_then(|it| it.about.get(COMPONENTS));
                let told = told.and_then(Value::as_array).map(|all| {
                    all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
                });
                for name in told.unwrap_or_else(|| KINDS.map(str::to_owned).to_vec()) {
                    xml.text.push_str("<c:comp name=\"");
                    xml.say(&name);
                    xml.text.push_str("\"/>");
                }
            }
            (Target::Calendar(_), "supported-calendar-data") => xml
                .text
                .push_str("<c:calendar-data content-type=\"text/calendar\" version=\"2.0\"/>"),
            (Target::Calendar(_), "supported-collation-set") => {
                COLLATIONS.iter().for_each(|it| xml.leaf("c:supported-collation", it));
            }
            (Target::Calendar(_), "max-resource-size") => xml.say(&BODY_BYTES_MAX.to_string()),
            (Target::Calendar(_), "max-instances") => {
                xml.say(&super::data::INSTANCES_MAX.to_string());
            }
            (Target::Calendar(id), local) => {
                let calendar = self.shelf.calendar(id)?;
                match local {
                    "calendar-description" => say(xml, calendar.about("description"))?,
                    "calendar-timezone" => say(xml, calendar.about(TIME_ZONE))?,
                    "schedule-calendar-transp" => {
                        let is_transparent = calendar.about(TRANSPARENCY) == Some("transparent");
                        xml.empty(if is_transparent { "c:transparent" } else { "c:opaque" });
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn principal(&self) -> Target {
        Target::Principal(self.person.to_owned())
    }

    fn privileges(&self, target: &Target) -> &'static [&'static str] {
        match target {
            Target::Home | Target::Calendar(_) | Target::Object(..) if self.shelf.may_write => &[
                "d:read",
                "d:read-acl",
                "d:read-current-user-privilege-set",
                "c:read-free-busy",
                "d:write",
                "d:write-content",
                "d:write-properties",
                "d:bind",
                "d:unbind",
            ],
            _ => &["d:read", "d:read-acl", "d:read-current-user-privilege-set", "c:read-free-busy"],
        }
    }
}

/// The components that are kept.
pub(crate) const KINDS: [&str; 2] = ["VEVENT", "VTODO"];

pub(crate) fn content_type(is_task: bool) -> &'static str {
    match is_task {
        true => "text/calendar; charset=utf-8; component=vtodo",
        false => "text/calendar; charset=utf-8; component=vevent",
    }
}

/// RFC 9110, section 5.6.7.
pub(crate) fn http_date(at: Timestamp) -> String {
    let utc = fasti_calendar::Zone::utc().to_local(at);
    utc.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The key of a property that means nothing here, in Clark's notation.
pub(crate) fn dead_key(name: &Name) -> String {
    format!("{{{}}}{}", name.space, name.local)
}

fn dead_name(key: &str) -> Option<Name> {
    let (space, local) = key.strip_prefix('{')?.split_once('}')?;
    Some(Name::new(space, local))
}

fn say(xml: &mut Xml, text: Option<&str>) -> Option<()> {
    text.map(|text| xml.say(text))
}

fn href(xml: &mut Xml, target: &Target) {
    xml.leaf("d:href", &target.href());
}

fn reports(target: &Target) -> &'static [&'static str] {
    match target {
        Target::Calendar(_) => &[
            "c:calendar-query",
            "c:calendar-multiget",
            "c:free-busy-query",
            "d:sync-collection",
            "d:expand-property",
        ],
        Target::Object(..) => &["c:calendar-query", "c:calendar-multiget", "d:expand-property"],
        Target::Home => &["c:calendar-query", "c:calendar-multiget", "d:expand-property"],
        Target::Root | Target::Principals | Target::Principal(_) => &[
            "d:expand-property",
            "d:principal-match",
            "d:principal-property-search",
            "d:principal-search-property-set",
        ],
        Target::Inbox(_) | Target::Outbox(_) => &["d:expand-property"],
    }
}

fn supported_privileges(xml: &mut Xml) {
    let inside: [(&str, &str, &[&str]); 3] = [
        (
            "d:read",
            "Read",
            &["d:read-acl", "d:read-current-user-privilege-set", "c:read-free-busy"],
        ),
        ("d:write", "Write", &["d:write-properties", "d:write-content", "d:bind", "d:unbind"]),
        ("d:unlock", "Unlock", &[]),
    ];
    let open = |xml: &mut Xml, name: &str, text: &str| {
        xml.open("d:supported-privilege");
        xml.open("d:privilege");
        xml.empty(name);
        xml.close("d:privilege");
        xml.leaf("d:description", text);
    };
    open(xml, "d:all", "All");
    for (name, text, parts) in inside {
        open(xml, name, text);
        for part in parts {
            open(xml, part, part.split_once(':').map_or(*part, |it| it.1));
            xml.close("d:supported-privilege");
        }
        xml.close("d:supported-privilege");
    }
    xml.close("d:supported-privilege");
}
