//! What a pod is told to do: the vocabulary that the plan, the script in the pods and the simulation share.
//!
//! Each of them may be done twice, and does nothing where what it asks for is so already. What it relies on is checked
//! where it is done (`scripts/node.sh`), because a plan may be old by then.

use std::fmt;
use std::str::FromStr;

use super::slots::Slots;

/// One thing for a node to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Get to know this node at this address, if it is that node which answers there.
    Meet { id: String, ip: String },
    /// Take this configuration epoch, if it has none and knows nobody.
    Epoch(u64),
    /// Own these slots, which nobody does.
    Own(Slots),
    /// Be a replica of this node.
    Replicate(String),
    /// Become primary in the place of the own primary, with its consent.
    TakeOver,
    /// Become primary in the place of one that is gone for good.
    Succeed,
    /// As `Succeed`, without asking the other primaries, most of which are gone, too.
    Usurp,
    /// Forget a node that is gone for good.
    Forget(String),
    /// Close these slots, which were being moved from or to here, and no longer are.
    Close(Slots),
    /// Move these slots, with their keys, to this node, as far as time allows.
    Move { id: String, ip: String, slots: Slots },
    /// Forget a former life, in another or an earlier cluster. Only ever of a node without slots and keys.
    Reset,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meet { id, ip } => write!(f, "meet {id} {ip}"),
            Self::Epoch(epoch) => write!(f, "epoch {epoch}"),
            Self::Own(slots) => write!(f, "own {slots}"),
            Self::Replicate(id) => write!(f, "replicate {id}"),
            Self::TakeOver => write!(f, "take-over"),
            Self::Succeed => write!(f, "succeed"),
            Self::Usurp => write!(f, "usurp"),
            Self::Forget(id) => write!(f, "forget {id}"),
            Self::Close(slots) => write!(f, "close {slots}"),
            Self::Move { id, ip, slots } => write!(f, "move {id} {ip} {slots}"),
            Self::Reset => write!(f, "reset"),
        }
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown command {text:?}");
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let slots = |text: &str| Slots::parse(text).ok_or_else(unknown);
        let mut words = rest.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().filter(|word| !word.is_empty()).ok_or_else(unknown);
        Ok(match verb {
            "meet" => Self::Meet { id: word()?, ip: word()? },
            "epoch" => Self::Epoch(rest.parse().map_err(|_| unknown())?),
            "own" => Self::Own(slots(rest)?),
            "replicate" => Self::Replicate(word()?),
            "take-over" => Self::TakeOver,
            "succeed" => Self::Succeed,
            "usurp" => Self::Usurp,
            "forget" => Self::Forget(word()?),
            "close" => Self::Close(slots(rest)?),
            "move" => Self::Move { id: word()?, ip: word()?, slots: slots(&word()?)? },
            "reset" => Self::Reset,
            _ => return Err(unknown()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_command_is_read_as_it_is_written() {
        let (id, ip) = ("a".repeat(40), "10.0.0.1".to_owned());
        let slots = Slots::parse("1 3-5").unwrap();
        for command in [
            Command::Meet { id: id.clone(), ip: ip.clone() },
            Command::Epoch(3),
            Command::Own(slots.clone()),
            Command::Replicate(id.clone()),
            Command::TakeOver,
            Command::Succeed,
            Command::Usurp,
            Command::Forget(id.clone()),
            Command::Close(slots.clone()),
            Command::Move { id, ip, slots },
            Command::Reset,
        ] {
            assert_eq!(command.to_string().parse(), Ok(command));
        }
        assert!("move x".parse::<Command>().is_err() && "dance".parse::<Command>().is_err());
    }
}
