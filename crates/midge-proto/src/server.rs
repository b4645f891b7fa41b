//! Where a server is, as a URL says it.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use percent_encoding::percent_decode_str;

/// How to reach a server: the scheme of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `nats`: TCP, upgraded to TLS when either side asks for it.
    Nats,
    /// `tls`: TCP, upgraded to TLS or not used at all.
    Tls,
    /// `ws`: WebSocket.
    Ws,
    /// `wss`: WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// The name in front of `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The port that a URL without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Nats | Self::Tls => 4222,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// The address of a server: `[scheme://][user[:password]@ | token@]host[:port][/path]`.
///
/// Without a scheme it is `nats`, without a port the scheme's. User, password and token are
/// percent-decoded; `/`, `?`, `#`, `,` and `%` in them must be encoded. The path is sent as given,
/// so that all but printable ASCII must be encoded in it, and `@`. An IPv6 address stands in
/// brackets. `Display`, `Debug` and errors never show a password or token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
    user: Option<String>,
    password: Option<String>,
}

/// Why a text is not the URL of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// The scheme is none that a NATS server speaks.
    #[error("the scheme of a server is nats, tls, ws or wss, not `{0}`")]
    Scheme(String),
    /// There is no host.
    #[error("a server's URL names no host; look for a stray comma")]
    NoHost,
    /// An IPv6 address without brackets, or brackets without one.
    #[error("`{0}` is not a host name or an IP address; put an IPv6 address into brackets")]
    Host(String),
    /// The host holds a character that no host name has. Percent-encoding is for credentials and
    /// paths.
    #[error("the host `{host}` holds {character:?}, which no host name has")]
    HostCharacter {
        /// The host.
        host: String,
        /// The first such character.
        character: char,
    },
    /// A dot of the host has nothing in front of it.
    #[error("the host `{0}` has a dot with nothing before it: remove it")]
    EmptyLabel(String),
    /// A host name that the DNS cannot hold (RFC 1035).
    #[error("the host `{0}` is longer than 255 bytes, or than 63 between two dots")]
    HostTooLong(String),
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` is not a port from 1 to 65535")]
    Port(String),
    /// User, password or token is not UTF-8 once decoded, or holds a `%` that encodes nothing.
    #[error(
        "the user, password or token of the URL is not valid percent-encoding of UTF-8; write `%` as `%25`"
    )]
    Credentials,
    /// User, password or token holds a character that ends this part of a URL. What it is is not
    /// shown, for it may be secret.
    #[error(
        "an `@` behind a path, query or list: percent-encode `/`, `?`, `#` and `,` in user, password or token (`/` is `%2F`), and `@` in a path"
    )]
    CredentialsNotEncoded,
    /// There is no `//` behind the scheme.
    #[error("write `{0}://` before the host")]
    NoSlashes(&'static str),
    /// A path on a scheme that has none.
    #[error("only ws and wss URLs have a path, query or fragment: remove `{0}`")]
    Path(String),
    /// A path with a blank, a control character or one outside of ASCII.
    #[error(
        "the path of the URL holds a blank, a control or a non-ASCII character: percent-encode it"
    )]
    PathNotEncoded,
}

impl ServerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError`] says which part is wrong.
    pub fn parse(url: &str) -> Result<Self, ServerUrlError> {
        let url = url.trim();
        let (scheme, rest) = match url.split_once("://") {
            Some((name, rest)) => (scheme(name)?, rest),
            None => {
                let slashes = |scheme: &&Scheme| {
                    let rest = url.strip_prefix(scheme.name());
                    rest.is_some_and(|rest| rest.starts_with(":/"))
                };
                if let Some(scheme) = ALL.iter().find(slashes) {
                    return Err(ServerUrlError::NoSlashes(scheme.name()));
                }
                (Scheme::Nats, url)
            }
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        // Also behind another `@`: what is in front of this one may be half of a password.
        if path.contains('@') {
            return Err(ServerUrlError::CredentialsNotEncoded);
        }
        let web = matches!(scheme, Scheme::Ws | Scheme::Wss);
        if !web && !matches!(path, "" | "/") {
            return Err(ServerUrlError::Path(path.to_owned()));
        }
        // It goes into the request line of the WebSocket handshake as it is.
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ServerUrlError::PathNotEncoded);
        }
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':')) {
            None => (None, None),
            Some(None) => (Some(decode(credentials.unwrap_or_default())?), None),
            Some(Some((user, password))) => (Some(decode(user)?), Some(decode(password)?)),
        };
        let (host, port) = host_and_port(place)?;
        Ok(Self {
            scheme,
            host,
            port: port.unwrap_or(scheme.default_port()),
            path: if web { path.to_owned() } else { String::new() },
            user,
            password,
        })
    }

    /// Reads URLs with commas between them.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError`] of the first that is none.
    pub fn parse_list(urls: &str) -> Result<Vec<Self>, ServerUrlError> {
        let mut rest = urls;
        let mut list = Vec::new();
        loop {
            let (url, more) = rest.split_once(',').unwrap_or((rest, ""));
            match Self::parse(url) {
                Ok(url) => list.push(url),
                // It may be one URL with a comma in its password, which no error may show.
                Err(_) if !url.contains('@') && more.contains('@') => {
                    return Err(ServerUrlError::CredentialsNotEncoded);
                }
                Err(error) => return Err(error),
            }
            if url.len() == rest.len() {
                return Ok(list);
            }
            rest = more;
        }
    }

    /// A server that another one told of: `host:port`, reached as `like` is, with its credentials.
    /// Those of the options go to such servers too.
    pub(crate) fn discovered(place: &str, like: &ServerUrl) -> Result<Self, ServerUrlError> {
        let (host, port) = host_and_port(place)?;
        Ok(Self {
            scheme: like.scheme,
            host,
            port: port.unwrap_or(like.scheme.default_port()),
            path: like.path.clone(),
            user: like.user.clone(),
            password: like.password.clone(),
        })
    }

    /// How to reach it.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host name or IP address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as an IP address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query of a WebSocket URL, else empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The user; the token when there is no [`password`](Self::password).
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// True when both lead to the same place, whatever their credentials.
    pub fn same_place(&self, other: &ServerUrl) -> bool {
        self.host.eq_ignore_ascii_case(&other.host) && self.port == other.port
    }
}

const ALL: [Scheme; 4] = [Scheme::Nats, Scheme::Tls, Scheme::Ws, Scheme::Wss];

fn scheme(name: &str) -> Result<Scheme, ServerUrlError> {
    ALL.into_iter()
        .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| ServerUrlError::Scheme(name.to_owned()))
}

fn decode(text: &str) -> Result<String, ServerUrlError> {
    let encodes = |(at, _): (usize, &str)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.match_indices('%').all(encodes) {
        return Err(ServerUrlError::Credentials);
    }
    let text = percent_decode_str(text).decode_utf8().map_err(|_| ServerUrlError::Credentials)?;
    Ok(text.into_owned())
}

/// Of a name in the DNS, in bytes (RFC 1035).
const LONGEST_NAME: usize = 255;
/// Of what stands between two dots.
const LONGEST_LABEL: usize = 63;

fn host_and_port(place: &str) -> Result<(String, Option<u16>), ServerUrlError> {
    let bad_host = || ServerUrlError::Host(place.to_owned());
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(bad_host)?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or_else(bad_host)?),
        };
        if host.parse::<core::net::Ipv6Addr>().is_err() {
            return Err(if host.is_empty() { ServerUrlError::NoHost } else { bad_host() });
        }
        (host, port)
    } else if place.parse::<core::net::Ipv6Addr>().is_ok() {
        // Whether the last group is a port cannot be told.
        return Err(bad_host());
    } else {
        match place.split_once(':') {
            Some((host, port)) => (check_name(host)?, Some(port)),
            None => (check_name(place)?, None),
        }
    };
    let port = match port {
        None => None,
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(ServerUrlError::Port(text.to_string())),
        },
    };
    Ok((host.to_owned(), port))
}

/// A host name, or an IPv4 address. Underscores are common inside of networks, and a dot at the end
/// keeps a resolver from trying domains of its own.
fn check_name(host: &str) -> Result<&str, ServerUrlError> {
    if host.is_empty() {
        return Err(ServerUrlError::NoHost);
    }
    let foreign = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-._".contains(c);
    let blank = |c: char| c.is_whitespace() || c.is_control();
    if let Some(character) = host.chars().find(|&c| foreign(c) || blank(c)) {
        return Err(ServerUrlError::HostCharacter { host: host.to_owned(), character });
    }
    if host.strip_suffix('.').unwrap_or(host).split('.').any(str::is_empty) {
        return Err(ServerUrlError::EmptyLabel(host.to_owned()));
    }
    // Of a name in other letters, the DNS holds another form, which may be shorter.
    let long = |label: &str| label.is_ascii() && label.len() > LONGEST_LABEL;
    if host.len() > LONGEST_NAME || host.split('.').any(long) {
        return Err(ServerUrlError::HostTooLong(host.to_owned()));
    }
    Ok(host)
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Self::parse(url)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path, .. } = self;
        let scheme = self.scheme.name();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
