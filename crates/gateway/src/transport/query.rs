//! The query of an Engine.IO request: read once, and passed on in one canonical form.
//!
//! What the gateway checks and what socketioxide does must depend on the same values. So
//! only exact values are accepted, each parameter at most once, and socketioxide receives a
//! query that is written here.

use http::Uri;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) transport: TransportName,
    /// The session, unless the request begins one.
    pub(crate) sid: Option<String>,
    /// The parameter `token`, as it was sent.
    token: Option<String>,
}

/// A transport, by its name in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransportName {
    Polling,
    WebSocket,
}

/// What is wrong with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadQuery {
    UnsupportedVersion,
    UnknownTransport,
    UnknownSession,
    /// The session has moved to another transport.
    WrongTransport,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// [`BadQuery`].
    pub(crate) fn parse(query: &str) -> Result<Self, BadQuery> {
        if only(query, "EIO") != Some("4") {
            return Err(BadQuery::UnsupportedVersion);
        }
        let transport = match only(query, "transport") {
            Some("polling") => TransportName::Polling,
            Some("websocket") => TransportName::WebSocket,
            _ => return Err(BadQuery::UnknownTransport),
        };
        let sid = match has(query, "sid") {
            false => None,
            true => {
                let is_sid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                let sid = only(query, "sid").filter(|sid| sid.bytes().all(is_sid));
                Some(sid.ok_or(BadQuery::UnknownSession)?.to_owned())
            }
        };
        let is_token = |pair: &&str| {
            let key = form_urlencoded::parse(pair.as_bytes()).next();
            key.is_some_and(|(key, _)| key == "token")
        };
        Ok(Self {
            transport,
            sid,
            token: query.split('&').find(is_token).map(str::to_owned),
        })
    }

    /// Returns the URI that socketioxide receives.
    pub(crate) fn canonical_uri(&self) -> Option<Uri> {
        let transport = match self.transport {
            TransportName::Polling => "polling",
            TransportName::WebSocket => "websocket",
        };
        let mut uri = format!("{}/?EIO=4&transport={transport}", super::PATH);
        if let Some(sid) = &self.sid {
            uri.push_str("&sid=");
            uri.push_str(sid);
        }
        if let Some(token) = &self.token {
            uri.push('&');
            uri.push_str(token);
        }
        uri.parse().ok()
    }
}

fn values<'a>(query: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    query
        .split('&')
        .filter_map(move |pair| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        })
}

fn has(query: &str, name: &str) -> bool {
    values(query, name).next().is_some()
}

/// Returns the parameter's value if it occurs once.
fn only<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut values = values(query, name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(query: &str) -> String {
        let uri = Query::parse(query).unwrap().canonical_uri().unwrap();
        uri.query().unwrap().to_owned()
    }

    #[test]
    fn a_query_is_passed_on_in_its_canonical_form() {
        assert_eq!(
            canonical("EIO=4&transport=polling&t=abc"),
            "EIO=4&transport=polling"
        );
        assert_eq!(
            canonical("token=a.b%2Bc&x=EIO=3&sid=AB-_9&transport=websocket&EIO=4"),
            "EIO=4&transport=websocket&sid=AB-_9&token=a.b%2Bc"
        );
    }

    #[test]
    fn only_exact_values_are_accepted() {
        for transport in [
            "",
            "&transport=",
            "&transport=websocket=x",
            "&transport=websocket%20",
            "&transport=web%73ocket",
            "&transport=WebSocket",
            "&transport=polling&transport=websocket",
            "&transport",
        ] {
            let query = format!("EIO=4{transport}");
            assert_eq!(
                Query::parse(&query),
                Err(BadQuery::UnknownTransport),
                "{query}"
            );
        }
        for version in ["", "EIO=3&", "EIO=4=4&", "EIO=4&EIO=4&", "EIO=5&EIO=4&"] {
            let query = format!("{version}transport=polling");
            assert_eq!(
                Query::parse(&query),
                Err(BadQuery::UnsupportedVersion),
                "{query}"
            );
        }
        for sid in ["sid=a&sid=b", "sid=a%20b", "sid=a/b", "sid=a=b"] {
            let query = format!("EIO=4&transport=polling&{sid}");
            assert_eq!(
                Query::parse(&query),
                Err(BadQuery::UnknownSession),
                "{query}"
            );
        }
    }
}
