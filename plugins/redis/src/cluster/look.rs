//! What one node says of itself and of the others: the output of `node.sh look`.
//!
//! Addresses and ids are the node's words and may be out of date; what it says of itself is not.

use super::slots::Slots;

/// What one node says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// It takes part in a cluster that works: a majority of the primaries is there.
    pub works: bool,
    /// As a replica, it follows its primary.
    pub in_sync: bool,
    /// It stores keys.
    pub has_keys: bool,
    /// How much of its primary's data a replica has.
    pub offset: u64,
    /// All nodes that it knows: itself first, the others by id.
    pub nodes: Vec<Node>,
}

/// A node, as one of them sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub id: String,
    pub ip: String,
    /// Name of its pod; empty while that is not known.
    pub pod: String,
    /// Of a replica: its primary, if it has one.
    pub primary: Option<String>,
    pub is_replica: bool,
    pub state: State,
    pub slots: Slots,
    /// Slots on their way to another node, and from another node to here; each with that node.
    pub leaving: Vec<(u16, String)>,
    pub coming: Vec<(u16, String)>,
}

/// How a node is, as another one sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It answers, as far as is known.
    #[default]
    Up,
    /// It may have failed, or there is no connection to it now.
    Doubted,
    /// The primaries agree that it has failed.
    Failed,
    /// It is being made acquaintance with.
    Unknown,
}

impl Look {
    /// Reads what the script printed; nothing if the server had no answer yet.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut look = Look::default();
        let mut me = None;
        for line in text.lines() {
            match line.trim_end().split_once(':') {
                Some(("cluster_state", state)) => look.works = state == "ok",
                Some(("master_link_status", status)) => look.in_sync = status == "up",
                Some(("slave_repl_offset", offset)) => look.offset = offset.parse().unwrap_or_default(),
                Some(("keys", keys)) => look.has_keys = keys != "none",
                _ => {
                    let Some((node, myself)) = Node::parse(line) else { continue };
                    match myself {
                        true => me = Some(node),
                        false => look.nodes.push(node),
                    }
                }
            }
        }
        look.nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        look.nodes.insert(0, me?);
        Some(look)
    }

    /// The node that says all this.
    pub(crate) fn me(&self) -> &Node {
        &self.nodes[0]
    }

    pub(crate) fn node(&self, id: &str) -> Option<&Node> {
        if self.me().id == id {
            return Some(self.me());
        }
        let others = self.others();
        others.binary_search_by(|node| node.id.as_str().cmp(id)).ok().and_then(|at| others.get(at))
    }

    pub(crate) fn others(&self) -> &[Node] {
        self.nodes.get(1..).unwrap_or_default()
    }
}

impl Node {
    /// A line of `CLUSTER NODES` without its two times, and whether it is about the node itself:
    /// `<id> <ip>:<port>@<bus port>[,<host name>] <flags> <primary> <epoch> <link> <slots…>`
    fn parse(line: &str) -> Option<(Self, bool)> {
        let mut fields = line.split_whitespace();
        let id = fields.next().filter(|id| id.len() == 40)?;
        let (address, aside) = fields.next()?.split_once(',').unwrap_or((line, ""));
        let address = if aside.is_empty() { line.split_whitespace().nth(1)? } else { address };
        let host = aside.split(',').next().unwrap_or_default();
        let flags: Vec<&str> = fields.next()?.split(',').collect();
        let primary = fields.next()?;
        let _epoch = fields.next()?;
        let linked = fields.next()? == "connected";
        let has = |flag: &str| flags.contains(&flag);
        let mut node = Node {
            id: id.to_owned(),
            ip: address.rsplit_once('@')?.0.rsplit_once(':')?.0.to_owned(),
            pod: host.split('.').next().unwrap_or_default().to_owned(),
            primary: Some(primary).filter(|primary| *primary != "-").map(str::to_owned),
            is_replica: has("slave"),
            state: match () {
                () if has("handshake") => State::Unknown,
                () if has("fail") => State::Failed,
                () if has("fail?") || has("noaddr") || !(linked || has("myself")) => State::Doubted,
                () => State::Up,
            },
            ..Node::default()
        };
        for field in fields {
            if let Some(open) = field.strip_prefix('[') {
                let open = open.trim_end_matches(']');
                if let Some((slot, to)) = open.split_once("->-") {
                    node.leaving.push((slot.parse().ok()?, to.to_owned()));
                } else if let Some((slot, from)) = open.split_once("-<-") {
                    node.coming.push((slot.parse().ok()?, from.to_owned()));
                }
            } else {
                node.slots = node.slots.union(&Slots::parse(field)?);
            }
        }
        Some((node, has("myself")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// As a Redis 7.0 printed it, shortened as the script does.
    const REPLICA: &str = "\
cluster_state:ok
role:slave
master_link_status:up
slave_repl_offset:98
keys:none
d5b86f3e7b2b1a7d03c4c1cb3e60f27f04c0a2f3 127.80.64.2:6379@16379,features-shard-1-0.features-nodes.senren-default.svc master - 2 connected 5461-10921
0f0cd5a2b3df7ae07cf1b37a1b1e9d7d4d1a9c3e 127.80.64.1:6379@16379,features-shard-0-0.features-nodes.senren-default.svc master,fail - 1 disconnected 0-5459 [5460->-d5b86f3e7b2b1a7d03c4c1cb3e60f27f04c0a2f3]
9b1a7d03c4c1cb3e60f27f04c0a2f3d5b86f3e7b 127.80.64.5:6379@16379,features-shard-1-1.features-nodes.senren-default.svc myself,slave d5b86f3e7b2b1a7d03c4c1cb3e60f27f04c0a2f3 2 connected
7ae07cf1b37a1b1e9d7d4d1a9c3e0f0cd5a2b3df :0@0 master,noaddr - 0 disconnected
c4c1cb3e60f27f04c0a2f3d5b86f3e7b9b1a7d03 127.80.64.9:6379@16379 handshake - 0 connected
";

    #[test]
    fn a_node_says_what_it_is_and_whom_it_knows() {
        let look = Look::parse(REPLICA).unwrap();
        assert!(look.works && look.in_sync && !look.has_keys);
        let me = look.me();
        assert_eq!((me.pod.as_str(), me.ip.as_str()), ("features-shard-1-1", "127.80.64.5"));
        assert!(me.is_replica && me.primary.as_deref() == Some("d5b86f3e7b2b1a7d03c4c1cb3e60f27f04c0a2f3"));
        let of = |id: &str| look.node(id).unwrap();
        let primary = of("d5b86f3e7b2b1a7d03c4c1cb3e60f27f04c0a2f3");
        assert_eq!((primary.state, primary.slots.len()), (State::Up, 5461));
        let failed = of("0f0cd5a2b3df7ae07cf1b37a1b1e9d7d4d1a9c3e");
        assert_eq!((failed.state, failed.slots.to_string().as_str()), (State::Failed, "0-5459"));
        assert_eq!(failed.leaving, [(5460, primary.id.clone())]);
        assert_eq!(of("7ae07cf1b37a1b1e9d7d4d1a9c3e0f0cd5a2b3df").state, State::Doubted);
        assert_eq!(of("c4c1cb3e60f27f04c0a2f3d5b86f3e7b9b1a7d03").state, State::Unknown);
        assert!(look.node(&me.id).is_some_and(|node| node == me) && look.node("").is_none());
        assert_eq!((of("c4c1cb3e60f27f04c0a2f3d5b86f3e7b9b1a7d03").pod.as_str(), look.nodes.len()), ("", 5));
    }

    #[test]
    fn a_server_that_has_no_answer_yet_says_nothing() {
        for text in
            ["", "LOADING Redis is loading the dataset in memory\n", "NOAUTH Authentication required.\n"]
        {
            assert_eq!(Look::parse(text), None);
        }
    }
}
