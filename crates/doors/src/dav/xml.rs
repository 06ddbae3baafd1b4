//! XML as WebDAV needs it: a body read into a small tree with namespaces, and answers written. No entities but the five
//! of XML itself, no document types: nothing that a body says can make it larger than it is.

use std::collections::BTreeMap;

use quick_xml::events::Event;
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

/// Namespaces.
pub(crate) const DAV: &str = "DAV:";
pub(crate) const CALDAV: &str = "urn:ietf:params:xml:ns:caldav";
pub(crate) const CALENDARSERVER: &str = "http://calendarserver.org/ns/";
pub(crate) const APPLE: &str = "http://apple.com/ns/ical/";

/// How deep elements may be nested.
const DEPTH_MAX: usize = 32;
/// Most elements of a body: a multiget of a large calendar has one for each event.
const ELEMENTS_MAX: usize = 200_000;

/// An element's or a property's name with its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) space: String,
    pub(crate) local: String,
}

impl Name {
    pub(crate) fn new(space: &str, local: &str) -> Self {
        Self { space: space.to_owned(), local: local.to_owned() }
    }

    pub(crate) fn is(&self, space: &str, local: &str) -> bool {
        self.space == space && self.local == local
    }
}

/// What stands inside of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Element(Element),
    Text(String),
}

/// An element with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: Name,
    /// By local name.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) nodes: Vec<Node>,
}

impl Element {
    fn new(name: Name) -> Self {
        Self { name, attributes: BTreeMap::new(), nodes: Vec::new() }
    }

    pub(crate) fn is(&self, space: &str, local: &str) -> bool {
        self.name.is(space, local)
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child of this name.
    pub(crate) fn child(&self, space: &str, local: &str) -> Option<&Self> {
        self.elements().find(|it| it.is(space, local))
    }

    /// All text in it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            match node {
                Node::Element(element) => text.push_str(&element.text()),
                Node::Text(part) => text.push_str(part),
            }
        }
        text
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// What is in it, as it can be put into any document.
    pub(crate) fn inner(&self) -> String {
        let mut xml = Xml::fragment();
        self.nodes.iter().for_each(|node| xml.node(node));
        xml.text
    }
}

/// Reads a body. An empty one is none.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn parse(body: &[u8]) -> Result<Option<Element>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut reader = NsReader::from_str(text);
    let (mut open, mut root) = (Vec::<Element>::new(), None);
    let mut count = 0;
    loop {
        let event = reader.read_event().map_err(|error| format!("the body is no XML: {error}"))?;
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(start) | Event::Empty(start) => {
                count += 1;
                if open.len() >= DEPTH_MAX || count > ELEMENTS_MAX {
                    return Err("the body is nested too deep, or has too many elements".into());
                }
                if root.is_some() {
                    return Err("the body has more than one root element".into());
                }
                let (space, local) = reader.resolver().resolve_element(start.name());
                let mut element = Element::new(Name {
                    space: namespace(&space)?,
                    local: local.as_ref().to_owned(),
                });
                for attribute in start.attributes() {
                    let attribute =
                        attribute.map_err(|error| format!("the body is no XML: {error}"))?;
                    let value = quick_xml::escape::unescape(&attribute.value)
                        .map_err(|error| format!("the body is no XML: {error}"))?
                        .into_owned();
                    // Where it is written again, its names have the namespaces that they have here.
                    if attribute.key.as_namespace_binding().is_none() {
                        let name = attribute.key.local_name();
                        element.attributes.insert(name.as_ref().to_owned(), value);
                    }
                }
                if is_empty {
                    close(&mut open, &mut root, element);
                } else {
                    open.push(element);
                }
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(&mut open, &mut root, element);
                }
            }
            Event::Text(text) => put(&mut open, &text),
            Event::CData(text) => put(&mut open, &text),
            Event::GeneralRef(entity) => {
                let reference = format!("&{};", &*entity);
                let text = quick_xml::escape::unescape(&reference)
                    .map_err(|_| format!("the body has an unknown entity: {reference}"))?;
                put(&mut open, &text);
            }
            Event::DocType(_) => {
                return Err("the body has a document type, which is refused".into());
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(Some(root)),
        _ => Err("the body is no XML: it ends in the middle".into()),
    }
}

fn close(open: &mut [Element], root: &mut Option<Element>, element: Element) {
    match open.last_mut() {
        Some(parent) => parent.nodes.push(Node::Element(element)),
        None => *root = Some(element),
    }
}

fn put(open: &mut [Element], text: &str) {
    let Some(element) = open.last_mut() else { return };
    match element.nodes.last_mut() {
        Some(Node::Text(before)) => before.push_str(text),
        _ => element.nodes.push(Node::Text(text.to_owned())),
    }
}

fn namespace(resolved: &ResolveResult<'_>) -> Result<String, String> {
    match resolved {
        ResolveResult::Bound(namespace) => Ok(namespace.as_ref().to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(prefix) => {
            Err(format!("the body uses the prefix {prefix} without saying what it is"))
        }
    }
}

/// A document that is being written. The prefixes of the namespaces above are declared at its root.
#[derive(Debug)]
pub(crate) struct Xml {
    pub(crate) text: String,
}

/// What the root declares.
const DECLARED: [(&str, &str); 4] =
    [("d", DAV), ("c", CALDAV), ("cs", CALENDARSERVER), ("ical", APPLE)];

impl Xml {
    /// A document with this root, without its end.
    pub(crate) fn document(root: &str) -> Self {
        let mut text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<{root}");
        for (prefix, space) in DECLARED {
            text.push_str(&format!(" xmlns:{prefix}=\"{space}\""));
        }
        text.push('>');
        Self { text }
    }

    /// Something to be put into a document.
    pub(crate) fn fragment() -> Self {
        Self { text: String::new() }
    }

    pub(crate) fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    pub(crate) fn empty(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str("/>");
    }

    /// Text, in which characters that XML can't hold are left out.
    pub(crate) fn say(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '&' => self.text.push_str("&amp;"),
                '"' => self.text.push_str("&quot;"),
                // A parser would make a line feed of it.
                '\r' => self.text.push_str("&#13;"),
                '\t' | '\n' => self.text.push(c),
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
                c => self.text.push(c),
            }
        }
    }

    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        self.say(text);
        self.close(name);
    }

    /// An element with what is in it, which is XML.
    pub(crate) fn with(&mut self, name: &Name, inner: &str) {
        let (start, end) = tags(name);
        self.text.push('<');
        self.text.push_str(&start);
        if inner.is_empty() {
            self.text.push_str("/>");
        } else {
            self.text.push('>');
            self.text.push_str(inner);
            self.close(&end);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text(text) => self.say(text),
            Node::Element(element) => {
                let (start, end) = tags(&element.name);
                self.text.push('<');
                self.text.push_str(&start);
                for (name, value) in &element.attributes {
                    self.text.push_str(&format!(" {name}=\""));
                    self.say(value);
                    self.text.push('"');
                }
                self.text.push('>');
                element.nodes.iter().for_each(|node| self.node(node));
                self.close(&end);
            }
        }
    }
}

/// What stands in the start tag and in the end tag.
fn tags(name: &Name) -> (String, String) {
    match DECLARED.iter().find(|it| it.1 == name.space) {
        Some((prefix, _)) => {
            let tag = format!("{prefix}:{}", name.local);
            (tag.clone(), tag)
        }
        None => {
            let mut xml = Xml::fragment();
            xml.say(&name.space);
            // No prefix may be bound to no namespace.
            (format!("{} xmlns=\"{}\"", name.local, xml.text), name.local.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_can_be_written_and_read_again() {
        let body = r#"<?xml version="1.0"?><D:propfind xmlns:D="DAV:" xmlns="urn:x"><D:prop><a b="1 &lt; 2">&amp;&#252;<![CDATA[<]]></a><D:getetag/></D:prop></D:propfind>"#;
        let read = parse(body.as_bytes()).unwrap().unwrap();
        let prop = read.child(DAV, "prop").unwrap();
        assert_eq!(prop.child("urn:x", "a").unwrap().text(), "&ü<");
        assert_eq!(prop.child("urn:x", "a").unwrap().attribute("b"), Some("1 < 2"));
        let mut xml = Xml::document("d:prop");
        xml.text.push_str(&prop.inner());
        xml.close("d:prop");
        let again = parse(xml.text.as_bytes()).unwrap().unwrap();
        assert_eq!(again.child("urn:x", "a").unwrap().text(), "&ü<");
        assert!(again.child(DAV, "getetag").is_some());
        // A declared prefix came out as an attribute.
        let declared = parse(br#"<a><x:b xmlns:x="urn:x" c="1"/></a>"#).unwrap().unwrap();
        assert_eq!(declared.inner(), r#"<b xmlns="urn:x" c="1"></b>"#);
    }

    #[test]
    fn what_is_no_xml_is_refused() {
        let deep = "<a>".repeat(100);
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><a>&b;</a>";
        for bad in ["<a>", "<a></b>", "text", "<a/><b/>", "<x:a/>", "<a>&b;</a>", bomb, &deep] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(&[0xff, 0xfe]).is_err());
        assert_eq!(parse(b" \n").unwrap(), None);
    }
}
