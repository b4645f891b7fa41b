//! Who may connect, and what they may do then.

use midge_proto::wire::ConnectInfo;

use super::interest::matches;
use super::{Auth, Permission, User};

impl Auth {
    pub(super) fn is_required(&self) -> bool {
        *self != Self::None
    }

    /// Whether a user of this name is known.
    pub(super) fn knows(&self, name: &str) -> bool {
        matches!(self, Self::Users(users) if users.iter().any(|user| user.name == name))
    }

    /// Who the client is, which has permissions only as a user; `None` when it may not connect.
    pub(super) fn check(&self, connect: &ConnectInfo) -> Option<Option<User>> {
        match self {
            Self::None => Some(None),
            Self::Token(token) => (connect.auth_token.as_ref() == Some(token)).then_some(None),
            Self::Users(users) => {
                let name = connect.user.as_deref()?;
                let user = users.iter().find(|user| user.name == name)?;
                (user.password == connect.pass.as_deref().unwrap_or("")).then(|| Some(user.clone()))
            }
        }
    }
}

impl Permission {
    /// Whether a publish to `subject` is permitted.
    pub(super) fn permits_publish(&self, subject: &[u8]) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|p| matches(p.as_bytes(), subject));
        self.allow.as_ref().is_none_or(|allow| any(allow)) && !any(&self.deny)
    }

    /// Whether a subscription to `subject`, in `queue`, is permitted. Wildcards in `subject` count
    /// as tokens, which a pattern has to cover.
    pub(super) fn permits_subscription(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let allowed = match &self.allow {
            None => true,
            Some(allow) => {
                let found = Found::of(allow, subject, queue);
                if queue.is_some() && found.any_group { found.group } else { found.plain }
            }
        };
        allowed && !self.denies(subject, queue)
    }

    /// Whether a message to `subject` must not be delivered to a subscription that is permitted.
    pub(super) fn denies(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let found = Found::of(&self.deny, subject, queue);
        found.plain || (queue.is_some() && found.group)
    }
}

/// What of a list matches a subscription.
struct Found {
    /// An entry without a queue group.
    plain: bool,
    /// An entry with this queue group.
    group: bool,
    /// An entry with any queue group.
    any_group: bool,
}

impl Found {
    fn of(patterns: &[String], subject: &[u8], queue: Option<&[u8]>) -> Self {
        let mut found = Self { plain: false, group: false, any_group: false };
        for pattern in patterns {
            let mut words = pattern.split_ascii_whitespace();
            let (pattern, group) = (words.next().unwrap_or(""), words.next());
            if !matches(pattern.as_bytes(), subject) {
                continue;
            }
            match group {
                None => found.plain = true,
                Some(group) => {
                    found.any_group = true;
                    found.group |= queue.is_some_and(|queue| matches(group.as_bytes(), queue));
                }
            }
        }
        found
    }
}
